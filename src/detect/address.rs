//! Networks, and whether an address is in one of them.

use std::net::IpAddr;

/// Most networks of one set.
pub const NETS_MAX: usize = 100_000;

/// An address as a number: those of version 4 before those of version 6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place(bool, u128);

impl Place {
    /// A version 4 address that is written as one of version 6 (RFC 4291 §2.5.5.2) is the same.
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(false, u128::from(u32::from(address))),
            IpAddr::V6(address) => Self(true, u128::from(address)),
        }
    }
}

/// One network: its first and its last address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Net {
    first: Place,
    last: Place,
}

/// Why a text is not a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("has to be a network like `192.0.2.0/24` or `2001:db8::/32`, with no bit set behind its length")]
pub struct NotANet;

impl Net {
    /// Reads `address/length`; an address alone is a network of one.
    pub fn parse(text: &str) -> Result<Self, NotANet> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| NotANet)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let plain = |length: &&str| length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u32 = match length {
            None => bits,
            Some(length) => Some(length).filter(plain).and_then(|length| length.parse().ok()).ok_or(NotANet)?,
        };
        let (first, free) = (Place::of(address), bits.checked_sub(length).ok_or(NotANet)?);
        let rest = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
        // A network of version 6 that holds mapped addresses of version 4 is taken for neither.
        if first.1 & rest != 0 || first.0 == address.is_ipv4() {
            return Err(NotANet);
        }
        Ok(Self { first, last: Place(first.0, first.1 | rest) })
    }
}

/// A set of networks, sorted and without overlaps.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Nets(Vec<Net>);

impl Nets {
    #[must_use]
    pub fn of(mut nets: Vec<Net>) -> Self {
        nets.sort();
        let mut merged: Vec<Net> = Vec::with_capacity(nets.len());
        for net in nets {
            match merged.last_mut() {
                Some(before) if net.first <= before.last => before.last = before.last.max(net.last),
                _ => merged.push(net),
            }
        }
        Self(merged)
    }

    /// These and those.
    #[must_use]
    pub fn with(self, more: Self) -> Self {
        Self::of([self.0, more.0].concat())
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let place = Place::of(address);
        let after = self.0.partition_point(|net| net.first <= place);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|net| place <= net.last)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many networks are left, once those that overlap are one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Whether an address says where on the Internet a caller is. One of a private network, of this
/// machine or of a link (RFC 6890) does not.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(address.is_private() || address.is_loopback() || address.is_link_local() || shared || first == 0)
        }
        IpAddr::V6(address) => {
            let local = address.is_unique_local() || address.is_unicast_link_local();
            !(local || address.is_loopback() || address.is_unspecified())
        }
    }
}
