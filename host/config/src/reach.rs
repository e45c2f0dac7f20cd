//! How near an upstream may be: what its address says by itself, and what the configuration allows beside.

use std::net::IpAddr;

use domain::{AddressKind, Reach};
use url::{Host, Url};

use crate::load::Reader;
use crate::upstreams::BaseUrl;

/// Ends of names that mean something only within a network of one's own.
const INNER: [&str; 8] =
    [".local", ".localdomain", ".internal", ".intranet", ".lan", ".home.arpa", ".svc", ".svc.cluster.local"];

/// The reach of the upstream at `prefix`: its `addresses`, or what its address says. An address that it does not have is an
/// error.
pub(crate) fn build(name: &str, prefix: &str, base: &BaseUrl, reader: &mut Reader<'_>) -> Reach {
    let key = format!("{prefix}.addresses");
    let said = reader.text(&key).and_then(|word| word.parse::<Reach>().ok());
    let Ok(url) = Url::parse(base.as_str()) else { return said.unwrap_or(Reach::Public) };
    let reach = said.unwrap_or_else(|| of_itself(&url));
    let Some(kind) = literal(&url).map(AddressKind::of).filter(|kind| !reach.has(*kind)) else { return reach };
    let message = format!("the upstream {name} is at {base}, a {} address", kind.name());
    let remedy = match kind {
        AddressKind::Reserved => "write the address at which it can be asked: 127.0.0.1 for this machine".to_owned(),
        AddressKind::LinkLocal => {
            format!("clouds keep credentials there; if a model answers there all the same, set {key} to any")
        }
        _ => format!("set {key} to {}, or remove it", kind.reach().unwrap_or(Reach::Any).name()),
    };
    let base_key = format!("{prefix}.api_base");
    reader.report.error(&base_key, reader.place(&base_key), message, remedy);
    reach
}

/// Who writes down an address of this machine or of a private network, or a name that can be nothing else, means it.
/// Link-local addresses are nobody's model.
fn of_itself(url: &Url) -> Reach {
    if let Some(address) = literal(url) {
        return AddressKind::of(address).reach().unwrap_or(Reach::Public).min(Reach::Local);
    }
    let Some(Host::Domain(name)) = url.host() else { return Reach::Public };
    let name = name.trim_end_matches('.');
    let is_inner = !name.contains('.') || name.ends_with(".localhost") || INNER.iter().any(|end| name.ends_with(end));
    if is_inner { Reach::Local } else { Reach::Public }
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(v4) => Some(v4.into()),
        Host::Ipv6(v6) => Some(v6.into()),
        Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a host: the reach that it has of itself, or a word for why it has none.
    fn outcome(host: &str) -> &'static str {
        let Ok(base) = format!("http://{host}:8000/v1").parse::<BaseUrl>() else { return "no address" };
        let url = Url::parse(base.as_str()).unwrap();
        let reach = of_itself(&url);
        match literal(&url).map(AddressKind::of) {
            Some(kind) if !reach.has(kind) => "refused",
            _ => reach.name(),
        }
    }

    #[test]
    fn each_spelling_of_an_address_has_the_reach_of_the_address() {
        let rows: [(&str, &[&str]); 7] = [
            (
                "local",
                &[
                    "127.0.0.1",
                    "127.1",
                    "127.0.1",
                    "2130706433",
                    "0x7f000001",
                    "0x7f.0.0.1",
                    "0x7F.1",
                    "0177.0.0.1",
                    "017700000001",
                    "0177.1",
                    "127.0.0.1.",
                    "127.255.255.254",
                    "0x7f.0x0.0x0.0x1",
                    "%31%32%37.0.0.1",
                    "１２７.0.0.1",
                    "①②⑦.0.0.1",
                    "127。0。0。1",
                    "[::1]",
                    "[0:0:0:0:0:0:0:1]",
                    "[::ffff:127.0.0.1]",
                    "[::ffff:7f00:1]",
                    "[::127.0.0.1]",
                    "[64:ff9b::127.0.0.1]",
                    "[64:ff9b:1::127.0.0.1]",
                    "[2002:7f00:1::]",
                    "[::ffff:0:127.0.0.1]",
                    "localhost",
                    "LOCALHOST",
                    "localhost.",
                    "a.localhost",
                    "ollama",
                    "gpu-box.local",
                    "host.docker.internal",
                    "x.lan",
                    "x.home.arpa",
                    "vllm.models.svc",
                    "vllm.models.svc.cluster.local",
                    "METADATA.google.internal",
                    "nas.local.",
                    "localhost\\@169.254.169.254",
                ],
            ),
            (
                "private",
                &[
                    "10.0.0.1",
                    "10.1",
                    "0xa.1",
                    "012.0.0.1",
                    "167772161",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "192.168.257",
                    "0xc0a80101",
                    "3232235777",
                    "100.64.0.1",
                    "100.127.255.254",
                    "[fc00::1]",
                    "[fd00::1]",
                    "[fdff:ffff::1]",
                    "[::ffff:10.0.0.1]",
                    "[::ffff:a00:1]",
                    "[::10.0.0.1]",
                    "[64:ff9b::a00:1]",
                    "[2002:a00:1::1]",
                    "[2002:c0a8:101::]",
                    "[fec0::1]",
                ],
            ),
            (
                "public",
                &[
                    "1.1.1.1",
                    "8.8.8.8",
                    "134744072",
                    "0x08080808",
                    "010.010.010.010",
                    "172.32.0.1",
                    "192.169.0.1",
                    "100.128.0.1",
                    "[2606:4700::1111]",
                    "[::ffff:8.8.8.8]",
                    "[64:ff9b::8.8.8.8]",
                    "[2002:808:808::1]",
                    "api.openai.com",
                    "api.openai.com.",
                    "xn--bcher-kva.example",
                    "localhost.example",
                    "127.0.0.1.nip.io",
                    "local.example",
                    "internal.example",
                    "10.0.0.1.example",
                    "models.corp.example",
                ],
            ),
            (
                "refused",
                &[
                    "169.254.169.254",
                    "169.254.169.254.",
                    "169.254.43518",
                    "169.16689662",
                    "2852039166",
                    "0xa9fea9fe",
                    "0xa9.0xfe.0xa9.0xfe",
                    "0251.0376.0251.0376",
                    "025177524776",
                    "169.254.170.2",
                    "169.254.0.1",
                    "１６９.254.169.254",
                    "169。254。169。254",
                    "[fe80::1]",
                    "[febf::1]",
                    "[::ffff:169.254.169.254]",
                    "[::ffff:a9fe:a9fe]",
                    "[::169.254.169.254]",
                    "[64:ff9b::a9fe:a9fe]",
                    "[64:ff9b:1::a9fe:a9fe]",
                    "[2002:a9fe:a9fe::1]",
                    "[fd00:ec2::254]",
                    "[fd00:0ec2:0:0:0:0:0:254]",
                    "100.100.100.200",
                    "168.63.129.16",
                    "192.0.0.192",
                ],
            ),
            (
                "refused",
                &[
                    "0.0.0.0",
                    "0",
                    "0x0",
                    "00",
                    "0.0.0.1",
                    "[::]",
                    "[::ffff:0.0.0.0]",
                    "224.0.0.1",
                    "239.255.255.250",
                    "240.0.0.1",
                    "255.255.255.255",
                    "4294967295",
                    "0xffffffff",
                    "198.18.0.1",
                    "192.0.2.1",
                    "198.51.100.1",
                    "203.0.113.1",
                    "[ff02::1]",
                    "[ff0e::1]",
                    "[2001:db8::1]",
                    "[2001::1]",
                    "[100::1]",
                    "[2002:e000:1::]",
                    "[64:ff9b::255.255.255.255]",
                    "192.88.99.1",
                ],
            ),
            (
                "no address",
                &[
                    "[fe80::1%25eth0]",
                    "[fe80::1%eth0]",
                    "[::1%lo]",
                    "256.0.0.1",
                    "127.0.0.256",
                    "0x100000000",
                    "4294967296",
                    "127.0.0.0.1",
                    "1.2.3.4.5",
                    "09.0.0.1",
                    "0xg.0.0.1",
                    "[127.0.0.1]",
                    "[::1",
                    "::1",
                    "fe80::1",
                    "127.0.0.1%00",
                    "a b",
                    "",
                    "user@127.0.0.1",
                    "[::ffff:127.0.0.256]",
                    "127..1",
                ],
            ),
            ("no address", &["x?@127.0.0.1", "x#@127.0.0.1"]),
        ];
        let mut spellings = 0;
        for (expected, hosts) in rows {
            for host in hosts {
                assert_eq!(outcome(host), expected, "{host}");
                spellings += 1;
            }
        }
        assert!(spellings >= 120, "{spellings}");
    }
}
