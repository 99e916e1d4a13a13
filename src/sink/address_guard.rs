//! Which addresses a sink may dial: guards against requests that a configured name would lead into our own network
//! (server-side request forgery). Runs on the address that is dialled, after resolution.
//!
//! The ranges are those of the IANA IPv4 and IPv6 Special-Purpose Address Registries, with the metadata services of
//! clouds on top. Azure's 168.63.129.16 looks public ("What is IP address 168.63.129.16?", Azure Virtual Network).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A private or loopback range that the configuration does not allow.
    #[error(
        "address {ip} is {range}; if the receiver is meant to be there, allow it with `allow_cidrs`"
    )]
    NotAllowed {
        /// The address.
        ip: IpAddr,
        /// What it is.
        range: &'static str,
    },
    /// A range in which no receiver can be, whatever the configuration says.
    #[error("address {ip} is {range}, which is never dialled, also if `allow_cidrs` covers it")]
    Never {
        /// The address.
        ip: IpAddr,
        /// What it is.
        range: &'static str,
    },
}

/// Whether `allow_cidrs` can open a range.
#[derive(Clone, Copy)]
enum Opens {
    WithAllowCidrs,
    Never,
}
use Opens::{Never, WithAllowCidrs};

/// A range that is not dialled, what it is, and whether it can be opened.
type Row = (IpNet, &'static str, Opens);

/// The first row that contains an address decides: narrow ranges stand before the wider ones around them.
const ROWS: &[Row] = &[
    (v4([0, 0, 0, 0], 8), "of `this network`", Never),
    (v4([10, 0, 0, 0], 8), "private", WithAllowCidrs),
    (v4([100, 100, 100, 200], 32), "a metadata service", Never),
    (v4([100, 64, 0, 0], 10), "shared (carrier-grade NAT)", WithAllowCidrs),
    (v4([127, 0, 0, 0], 8), "loopback", WithAllowCidrs),
    (v4([168, 63, 129, 16], 32), "Azure's WireServer", Never),
    (v4([169, 254, 0, 0], 16), "link-local (metadata services)", Never),
    (v4([172, 16, 0, 0], 12), "private", WithAllowCidrs),
    (v4([192, 0, 0, 0], 24), "reserved for protocols", Never),
    (v4([192, 0, 2, 0], 24), "for documentation", Never),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay", Never),
    (v4([192, 168, 0, 0], 16), "private", WithAllowCidrs),
    (v4([198, 18, 0, 0], 15), "for benchmarks", Never),
    (v4([198, 51, 100, 0], 24), "for documentation", Never),
    (v4([203, 0, 113, 0], 24), "for documentation", Never),
    (v4([224, 0, 0, 0], 4), "multicast", Never),
    (v4([240, 0, 0, 0], 4), "reserved or broadcast", Never),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback", WithAllowCidrs),
    (v6([0; 8], 96), "unspecified or IPv4-compatible", Never),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "an IPv4 address behind NAT64", Never),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "an IPv4 address behind NAT64", Never),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "for discarding", Never),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "reserved for protocols (Teredo, ORCHID)", Never),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "for documentation", Never),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "an IPv4 address in 6to4", Never),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "for documentation", Never),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "a segment routing id", Never),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), "a metadata service", Never),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), "a metadata service", Never),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local", WithAllowCidrs),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local", Never),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local", Never),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast", Never),
];

/// The only IPv6 range that IANA has given out as global unicast.
const GLOBAL_UNICAST: IpNet = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix))
}

/// Whether an address may be dialled. Public ones may; private and loopback ones where `allow_cidrs` covers them;
/// link-local, metadata and reserved ones never. An IPv4-mapped IPv6 address is judged as the IPv4 address it is.
pub fn allowed(ip: IpAddr, allow_cidrs: &[IpNet]) -> Result<(), Refusal> {
    let ip = ip.to_canonical();
    let Some((_, range, opens)) = ROWS.iter().find(|(net, ..)| net.contains(&ip)) else {
        return match ip.is_ipv4() || GLOBAL_UNICAST.contains(&ip) {
            true => Ok(()),
            false => Err(Refusal::Never { ip, range: "not in use" }),
        };
    };
    match opens {
        WithAllowCidrs if allow_cidrs.iter().any(|net| net.contains(&ip)) => Ok(()),
        WithAllowCidrs => Err(Refusal::NotAllowed { ip, range }),
        Never => Err(Refusal::Never { ip, range }),
    }
}

/// Checks all answers for one name. One forbidden answer refuses the name: which of them is dialled must not
/// depend on luck, nor on who answers the resolver.
pub fn all_allowed(
    answers: impl IntoIterator<Item = SocketAddr>,
    allow_cidrs: &[IpNet],
) -> Result<Vec<SocketAddr>, Refusal> {
    let checked = answers.into_iter().map(|address| {
        allowed(address.ip(), allow_cidrs)?;
        Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
    });
    checked.collect()
}

#[cfg(test)]
mod tests;
