//! Where journals are kept, as it is configured.

use secrecy::ExposeSecret;

use super::*;

const KEY: &str = "c2VjcmV0LWtleS1vZi10aGUtYWNjb3VudA==";

/// The mistakes of a store at this URL with these options.
fn mistakes(url: &str, options: &str) -> String {
    let folder = Folder::new();
    folder.write("o", options);
    folder.mistakes(&with(&format!("store: {{ url: '{url}', options_file: o }}"))).join("\n")
}

#[test]
fn without_a_url_everything_is_in_the_folder() {
    let folder = Folder::new();
    assert!(folder.config(&with("store: { path: there }")).store.remote.is_none());
    let all = folder.mistakes(&with("store: { options_file: store.options }")).join("\n");
    assert!(all.contains("store.options_file: value 'store.options': stands without url"), "{all}");
}

#[test]
fn a_url_and_its_options_say_provider_container_prefix_and_keys() {
    let folder = Folder::new();
    let options = format!("# ours\n\nAZURE_STORAGE_ACCOUNT_NAME = acme\naccess_key={KEY}\n");
    folder.write("o", &options);
    let store = "store: { url: 'az://state-1/fleet/eu', options_file: o, path: here }";
    let store = folder.config(&with(store)).store;
    assert_eq!(store.path, folder.0.path().join("here"));
    let remote = store.remote.expect("an object store");
    assert_eq!(
        (remote.provider, &*remote.container, &*remote.prefix),
        (Provider::Azure, "state-1", "fleet/eu")
    );
    let options: Vec<_> =
        remote.options.iter().map(|(key, value)| (&**key, value.expose_secret())).collect();
    assert_eq!(options, [("azure_storage_account_name", "acme"), ("access_key", KEY)]);

    for (url, provider) in [("s3://bucket", Provider::S3), ("gs://bucket/", Provider::Gcs)] {
        let config = folder.config(&with(&format!("store: {{ url: '{url}' }}")));
        let remote = config.store.remote.expect("an object store");
        assert_eq!((remote.provider, &*remote.prefix), (provider, ""));
    }
}

#[test]
fn a_url_that_is_none_of_an_object_store_is_refused_with_what_to_write() {
    for (url, expected) in [
        ("ftp://a/b", "has a scheme that is not known: write az://container/prefix"),
        ("https://a.blob.core.windows.net/c", "has a scheme that is not known"),
        ("/var/lib", "is no URL of an object store"),
        ("s3:///prefix", "names no container or bucket"),
        ("s3://b/a//b", "has a prefix that can't be used"),
        ("s3://b/a%2Fb", "has a prefix that can't be used"),
        ("s3://user:hunter22@b/a", "says more than where"),
        ("az://c/a?sv=1&sig=hunter22", "says more than where"),
    ] {
        let all = mistakes(url, "account_name=a\nallow_http=true\n");
        assert!(all.contains("store.url: value '") && all.contains(expected), "{all}");
        assert!(!all.contains("hunter22"), "{all}");
    }
}

#[test]
fn an_option_that_is_not_known_is_refused_by_its_line_and_never_repeated() {
    let all = mistakes("az://c", &format!("account_name=a\n{KEY}\nacces_key={KEY}\n"));
    assert!(all.contains("value 'o': line 2 is no option of this provider"), "{all}");
    assert!(all.contains("line 3 is no option"), "{all}");
    assert!(!all.contains(&KEY[..8]) && !all.contains("acces_key"), "{all}");
}

#[test]
fn an_account_is_needed_and_plaintext_has_to_be_allowed() {
    let all = mistakes("az://c", &format!("access_key={KEY}"));
    assert!(all.contains("names no storage account"), "{all}");
    for (url, endpoint) in [
        ("az://c", "account_name=a\nendpoint=http://h:1/a"),
        ("s3://c", "AWS_ENDPOINT_URL=http://h:1"),
        ("gs://c", "google_base_url=HTTP://h:1"),
    ] {
        let all = mistakes(url, endpoint);
        assert!(all.contains("would be sent state unencrypted"), "{url}: {all}");
        let all = mistakes(url, &format!("{endpoint}\nallow_http=false"));
        assert!(all.contains("would be sent state unencrypted"), "{url}: {all}");
        assert_eq!(mistakes(url, &format!("{endpoint}\nallow_http=true")), "");
    }
}

#[test]
fn debug_shows_no_value_of_an_option() {
    let folder = Folder::new();
    folder.write("o", &format!("account_name=acme\naccess_key={KEY}\n"));
    let config = folder.config(&with("store: { url: 'az://c', options_file: o }"));
    let shown = format!("{config:?}");
    assert!(shown.contains("access_key") && !shown.contains(KEY) && !shown.contains("acme"));
}
