//! Networks as CIDR writes them (RFC 4632 section 3.1, RFC 4291 section 2.3): `10.0.0.0/8`, `2001:db8::/32`,
//! or one address.

use std::net::IpAddr;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// The first address; IPv4 in its own family.
    address: IpAddr,
    length: u32,
}

impl Network {
    /// `None` for what is no network, or has bits beyond its length, or is IPv4 written as IPv6.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        if address.to_canonical() != address {
            return None;
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 3 => {
                digits.parse().ok().filter(|length| *length <= most)?
            }
            Some(_) => return None,
        };
        let network = Self { address, length };
        (network.cut(address) == address).then_some(network)
    }

    /// Whether the address is in the network. IPv4 mapped into IPv6 (`::ffff:10.0.0.1`) is IPv4.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && self.cut(address) == self.address
    }

    /// Whether each address of `other` is in this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// The address without the bits beyond the length.
    fn cut(&self, address: IpAddr) -> IpAddr {
        let mask = |bits: u32| u128::MAX.checked_shl(bits.saturating_sub(self.length)).unwrap_or_default();
        match address {
            IpAddr::V4(four) => {
                let cut = u128::from(four.to_bits()) & mask(32);
                IpAddr::V4(u32::try_from(cut).unwrap_or_default().into())
            }
            IpAddr::V6(six) => IpAddr::V6((six.to_bits() & mask(128)).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_what_has_its_bits() {
        for (network, address, contains) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::a01:203", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "10.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.6/31", "192.0.2.7", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1/128", "2001:db8::1", true),
        ] {
            let found = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, contains, "{network} {address}");
        }
    }

    #[test]
    fn refuses_what_can_be_meant_in_two_ways() {
        for text in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/08x",
            "10.0.0.0/-1",
            "10.0.0",
            "010.0.0.0/8",
            "::ffff:10.0.0.0/104",
            "::/129",
            "2001:db8::1/32",
            "localhost",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn covers_smaller_ones() {
        let network = |text| Network::parse(text).unwrap();
        assert!(network("10.0.0.0/8").covers(&network("10.1.0.0/16")));
        assert!(!network("10.1.0.0/16").covers(&network("10.0.0.0/8")));
        assert!(!network("::/0").covers(&network("10.0.0.0/8")));
    }
}
