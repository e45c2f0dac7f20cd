use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What kind of place an IP address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressKind {
    /// Somewhere on the internet.
    Public,
    /// A network of one's own, a provider's inner network or a VPN: 10.0.0.0/8, 100.64.0.0/10, fc00::/7 and their like.
    Private,
    /// This machine.
    Loopback,
    /// The next cable, where no name should lead; clouds give their credentials away there.
    LinkLocal,
    /// Nowhere that can be asked: unspecified, multicast, broadcast, documentation, or not assigned.
    Reserved,
}

/// How near an upstream may be: each reach has what is in the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Public addresses only.
    Public,
    /// Private ones, too.
    Private,
    /// This machine, too.
    Local,
    /// Link-local ones, too.
    Any,
}

/// No reach that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not public, private, local or any")]
pub struct InvalidReach;

/// Where clouds answer any program of a machine with its credentials, outside of 169.254.0.0/16 and fe80::/10: AWS, Alibaba
/// Cloud, Azure and Oracle.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

impl AddressKind {
    /// The kind of this address. An IPv4 address within an IPv6 one (mapped, compatible, NAT64, 6to4) is what it leads to.
    pub fn of(address: IpAddr) -> Self {
        let address = match address {
            IpAddr::V6(v6) => inner(v6).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        if METADATA.contains(&address) {
            return AddressKind::LinkLocal;
        }
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// As an adjective before "address".
    pub fn name(self) -> &'static str {
        match self {
            AddressKind::Public => "public",
            AddressKind::Private => "private",
            AddressKind::Loopback => "loopback",
            AddressKind::LinkLocal => "link-local or metadata",
            AddressKind::Reserved => "reserved",
        }
    }

    /// The least reach that has it; none has reserved addresses.
    pub fn reach(self) -> Option<Reach> {
        match self {
            AddressKind::Public => Some(Reach::Public),
            AddressKind::Private => Some(Reach::Private),
            AddressKind::Loopback => Some(Reach::Local),
            AddressKind::LinkLocal => Some(Reach::Any),
            AddressKind::Reserved => None,
        }
    }
}

impl Reach {
    /// Its word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Reach::Public => "public",
            Reach::Private => "private",
            Reach::Local => "local",
            Reach::Any => "any",
        }
    }

    /// Whether addresses of this kind are within it.
    pub fn has(self, kind: AddressKind) -> bool {
        kind.reach().is_some_and(|least| least <= self)
    }
}

impl FromStr for Reach {
    type Err = InvalidReach;

    fn from_str(text: &str) -> Result<Self, InvalidReach> {
        let all = [Reach::Public, Reach::Private, Reach::Local, Reach::Any];
        all.into_iter().find(|reach| reach.name() == text).ok_or(InvalidReach)
    }
}

/// The IPv4 address that an IPv6 address stands for.
fn inner(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = |[.., a, b, c, d]: [u8; 16]| Ipv4Addr::new(a, b, c, d);
    match v6.segments() {
        // `::` and `::1` are themselves; the rest of ::/96 is IPv4-compatible.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => Some(last(v6.octets())),
        // NAT64: the well-known prefix, and the one for local use.
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, ..] => Some(last(v6.octets())),
        [0x2002, ab, cd, ..] => {
            let ([a, b], [c, d]) = (ab.to_be_bytes(), cd.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

fn of_v4(v4: Ipv4Addr) -> AddressKind {
    let [a, b, c, _] = v4.octets();
    match (a, b, c) {
        (127, ..) => AddressKind::Loopback,
        (169, 254, _) => AddressKind::LinkLocal,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => AddressKind::Private,
        (0, ..) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) | (224..=255, ..) => AddressKind::Reserved,
        _ if v4.is_documentation() => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn of_v6(v6: Ipv6Addr) -> AddressKind {
    let [first, second, ..] = v6.segments();
    match first {
        _ if v6.is_loopback() => AddressKind::Loopback,
        0xfe80..=0xfebf => AddressKind::LinkLocal,
        // Unique local addresses, and the site-local ones before them.
        0xfc00..=0xfdff | 0xfec0..=0xfeff => AddressKind::Private,
        // Protocol assignments (Teredo, ORCHID) and documentation within what is given out.
        0x2001 if second < 0x200 || second == 0xdb8 => AddressKind::Reserved,
        0x3fff if second < 0x1000 => AddressKind::Reserved,
        0x2000..=0x3fff => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_of_its_kind_however_it_is_written() {
        use AddressKind::{LinkLocal, Loopback, Private, Public, Reserved};
        let v4 = [
            (Public, "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0"),
            (
                Public,
                "172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 169.253.255.255 169.255.0.0 223.255.255.255",
            ),
            (Public, "198.17.255.255 198.20.0.0 192.0.1.0 203.0.112.255 203.0.114.0"),
            (
                Private,
                "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 100.64.0.0 100.127.255.255",
            ),
            (Loopback, "127.0.0.0 127.0.0.1 127.255.255.255"),
            (
                LinkLocal,
                "169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255 100.100.100.200 168.63.129.16 192.0.0.192",
            ),
            (Reserved, "0.0.0.0 0.1.2.3 192.0.0.8 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.7 203.0.113.9"),
            (Reserved, "224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255"),
        ];
        let mut checked = 0;
        for (kind, addresses) in v4 {
            for v4 in addresses.split(' ').map(|text| text.parse::<Ipv4Addr>().unwrap()) {
                let [a, b, c, d] = v4.octets().map(u16::from);
                let (high, low) = (a << 8 | b, c << 8 | d);
                let within = [
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                    Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x64, 0xff9b, 1, 0xfffe, 0, 0, high, low),
                    Ipv6Addr::new(0x2002, high, low, 7, 0, 0, 0, 1),
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                ];
                assert_eq!(AddressKind::of(v4.into()), kind, "{v4}");
                for v6 in within {
                    // `::` and `::1`.
                    if high != 0 || low > 1 {
                        assert_eq!(AddressKind::of(v6.into()), kind, "{v6}");
                        checked += 1;
                    }
                }
            }
        }
        for (kind, addresses) in [
            (Public, "2000:: 2001:4860:4860::8888 2606:4700::1111 2a00:1450:4001:81b::200e 3ffe::1 2001:200::1"),
            (Private, "fc00::1 fd12:3456::1 fdff:ffff::1 fec0::1"),
            (Loopback, "::1"),
            (LinkLocal, "fe80::1 febf::1 fd00:ec2::254"),
            (Reserved, ":: 100::1 2001::1 2001:10::1 2001:db8::1 3fff::1 4000::1 5f00::1 ff02::1 ff0e::1 fe00::1"),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(AddressKind::of(address.parse().unwrap()), kind, "{address}");
                checked += 1;
            }
        }
        assert!(checked >= 200, "{checked}");
    }

    #[test]
    fn a_reach_has_what_is_in_the_ones_before() {
        use AddressKind::{LinkLocal, Loopback, Private, Public, Reserved};
        let kinds = [Public, Private, Loopback, LinkLocal, Reserved];
        for (reach, has) in [("public", 1), ("private", 2), ("local", 3), ("any", 4)] {
            let reach: Reach = reach.parse().unwrap();
            assert_eq!(kinds.map(|kind| reach.has(kind)), [0, 1, 2, 3, 4].map(|place| place < has), "{reach:?}");
        }
        assert_eq!("Public".parse::<Reach>(), Err(InvalidReach));
    }
}
