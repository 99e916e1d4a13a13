use proptest::prelude::*;

use super::*;

/// Judged without `allow_cidrs`, and with one that covers everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Public,
    Opened,
    Refused,
}
use Verdict::{Opened, Public, Refused};

fn verdict(ip: IpAddr) -> Verdict {
    let everything = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    match (allowed(ip, &[]), allowed(ip, &everything)) {
        (Ok(()), Ok(())) => Public,
        (Err(Refusal::NotAllowed { .. }), Ok(())) => Opened,
        (Err(Refusal::Never { .. }), Err(Refusal::Never { .. })) => Refused,
        odd => panic!("{ip}: {odd:?}"),
    }
}

const TABLE: &[(&str, Verdict)] = &[
    ("0.0.0.0", Refused),
    ("0.0.0.1", Refused),
    ("0.255.255.255", Refused),
    ("1.0.0.0", Public),
    ("1.1.1.1", Public),
    ("8.8.8.8", Public),
    ("9.255.255.255", Public),
    ("10.0.0.0", Opened),
    ("10.96.0.1", Opened),
    ("10.255.255.255", Opened),
    ("11.0.0.0", Public),
    ("13.107.6.152", Public),
    ("20.50.2.1", Public),
    ("100.63.255.255", Public),
    ("100.64.0.0", Opened),
    ("100.100.100.199", Opened),
    ("100.100.100.200", Refused),
    ("100.100.100.201", Opened),
    ("100.127.255.255", Opened),
    ("100.128.0.0", Public),
    ("126.255.255.255", Public),
    ("127.0.0.0", Opened),
    ("127.0.0.1", Opened),
    ("127.0.0.53", Opened),
    ("127.255.255.255", Opened),
    ("128.0.0.0", Public),
    ("168.63.129.15", Public),
    ("168.63.129.16", Refused),
    ("168.63.129.17", Public),
    ("169.253.255.255", Public),
    ("169.254.0.0", Refused),
    ("169.254.169.254", Refused),
    ("169.254.170.2", Refused),
    ("169.254.255.255", Refused),
    ("169.255.0.0", Public),
    ("172.15.255.255", Public),
    ("172.16.0.0", Opened),
    ("172.17.0.1", Opened),
    ("172.31.255.255", Opened),
    ("172.32.0.0", Public),
    ("191.255.255.255", Public),
    ("192.0.0.0", Refused),
    ("192.0.0.192", Refused),
    ("192.0.0.255", Refused),
    ("192.0.1.0", Public),
    ("192.0.2.1", Refused),
    ("192.0.3.0", Public),
    ("192.88.98.255", Public),
    ("192.88.99.1", Refused),
    ("192.88.100.0", Public),
    ("192.167.255.255", Public),
    ("192.168.0.0", Opened),
    ("192.168.255.255", Opened),
    ("192.169.0.0", Public),
    ("198.17.255.255", Public),
    ("198.18.0.0", Refused),
    ("198.19.255.255", Refused),
    ("198.20.0.0", Public),
    ("198.51.99.255", Public),
    ("198.51.100.7", Refused),
    ("198.51.101.0", Public),
    ("203.0.112.255", Public),
    ("203.0.113.7", Refused),
    ("203.0.114.0", Public),
    ("223.255.255.255", Public),
    ("224.0.0.1", Refused),
    ("239.255.255.250", Refused),
    ("240.0.0.1", Refused),
    ("255.255.255.254", Refused),
    ("255.255.255.255", Refused),
    ("::", Refused),
    ("::1", Opened),
    ("::2", Refused),
    ("::127.0.0.1", Refused),
    ("::8.8.8.8", Refused),
    ("::1:0:0", Refused),
    ("::ffff:8.8.8.8", Public),
    ("::ffff:127.0.0.1", Opened),
    ("::ffff:10.0.0.1", Opened),
    ("::ffff:169.254.169.254", Refused),
    ("::ffff:168.63.129.16", Refused),
    ("::ffff:0.0.0.0", Refused),
    ("::ffff:7f00:1", Opened),
    ("::ffff:0:127.0.0.1", Refused),
    ("64:ff9b::8.8.8.8", Refused),
    ("64:ff9b::127.0.0.1", Refused),
    ("64:ff9b::169.254.169.254", Refused),
    ("64:ff9b:1::1", Refused),
    ("64:ff9b:1:ffff::10.0.0.1", Refused),
    ("64:ff9b:2::1", Refused),
    ("100::1", Refused),
    ("100:0:0:1::1", Refused),
    ("1fff:ffff::1", Refused),
    ("2000::1", Public),
    ("2001::1", Refused),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Refused),
    ("2001:10::1", Refused),
    ("2001:20::1", Refused),
    ("2001:1ff:ffff::1", Refused),
    ("2001:200::1", Public),
    ("2001:db7:ffff::1", Public),
    ("2001:db8::1", Refused),
    ("2001:db8:ffff::1", Refused),
    ("2001:db9::1", Public),
    ("2001:4860:4860::8888", Public),
    ("2002:7f00:1::", Refused),
    ("2002:a9fe:a9fe::1", Refused),
    ("2002:808:808::1", Refused),
    ("2003::1", Public),
    ("2606:4700:4700::1111", Public),
    ("2a01:111:2003::52", Public),
    ("3ffe:ffff::1", Public),
    ("3fff::1", Refused),
    ("3fff:fff:ffff::1", Refused),
    ("3fff:1000::1", Public),
    ("4000::1", Refused),
    ("5f00::1", Refused),
    ("8000::1", Refused),
    ("fbff::1", Refused),
    ("fc00::1", Opened),
    ("fd00:ec2::253", Opened),
    ("fd00:ec2::254", Refused),
    ("fd20:ce::254", Refused),
    ("fdff:ffff::1", Opened),
    ("fe00::1", Refused),
    ("fe80::1", Refused),
    ("febf:ffff::1", Refused),
    ("fec0::1", Refused),
    ("feff::1", Refused),
    ("ff00::1", Refused),
    ("ff02::1", Refused),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Refused),
];

#[test]
fn each_row_of_the_table_is_judged_as_it_says() {
    for (ip, expected) in TABLE {
        assert_eq!(verdict(ip.parse().unwrap()), *expected, "{ip}");
    }
}

#[test]
fn an_allowed_range_opens_what_it_covers_and_nothing_beside_it() {
    let allow = ["10.1.0.0/16".parse().unwrap(), "fd12::/16".parse().unwrap()];
    for open in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1"] {
        assert_eq!(allowed(open.parse().unwrap(), &allow), Ok(()), "{open}");
    }
    for shut in ["10.2.0.1", "127.0.0.1", "192.168.1.1", "fd13::1", "::1"] {
        assert!(allowed(shut.parse().unwrap(), &allow).is_err(), "{shut}");
    }
}

/// Decimal, octal, hexadecimal and shortened forms: the URL standard ("host parser") makes addresses of them.
#[test]
fn odd_ways_to_write_an_address_in_a_url_are_judged_as_that_address() {
    for host in [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0x7f.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "[::ffff:a9fe:a9fe]",
        "0xa83f8110",
        "2822734096",
        "0",
    ] {
        let url = url::Url::parse(&format!("https://{host}/hook")).unwrap();
        let ip = match url.host().unwrap() {
            url::Host::Ipv4(ip) => IpAddr::V4(ip),
            url::Host::Ipv6(ip) => IpAddr::V6(ip),
            url::Host::Domain(name) => panic!("{host} was read as the name {name}"),
        };
        assert!(allowed(ip, &[]).is_err(), "{host}");
    }
}

#[test]
fn one_forbidden_answer_refuses_the_name() {
    let public: SocketAddr = "93.184.215.14:443".parse().unwrap();
    let mapped: SocketAddr = "[::ffff:93.184.215.14]:443".parse().unwrap();
    let private: SocketAddr = "10.0.0.5:443".parse().unwrap();
    assert_eq!(all_allowed([public, mapped], &[]), Ok(vec![public, public]));
    assert!(all_allowed([public, private], &[]).is_err());
    assert!(all_allowed([private, public], &[]).is_err());
    let allow = ["10.0.0.0/8".parse().unwrap()];
    assert_eq!(all_allowed([public, private], &allow), Ok(vec![public, private]));
}

proptest! {
    #[test]
    fn an_ipv4_address_and_its_mapped_form_are_judged_alike(bits: u32) {
        let ip = Ipv4Addr::from_bits(bits);
        prop_assert_eq!(verdict(ip.into()), verdict(ip.to_ipv6_mapped().into()));
    }

    #[test]
    fn what_the_standard_library_knows_as_special_is_never_public(bits: u32) {
        let ip = Ipv4Addr::from_bits(bits);
        let special = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_broadcast()
            || ip.is_documentation() || ip.is_multicast() || ip.is_unspecified();
        prop_assert!(!special || verdict(ip.into()) != Public);
    }

    #[test]
    fn no_ipv6_address_outside_global_unicast_is_public(bits: u128) {
        let ip = Ipv6Addr::from_bits(bits);
        let outside = ip.to_ipv4_mapped().is_none() && bits >> 125 != 1;
        prop_assert!(!outside || verdict(ip.into()) != Public);
    }
}
