//! Addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::class::{exact, push};
use super::{BadValue, Fields};

const IPV4: u8 = 2;
const IPV6: u8 = 3;

/// `inet`, and `cidr` that always shows its bits: family, bits, a mark, the address with its length.
pub(super) fn address_text(value: &[u8], is_cidr: bool, out: &mut Vec<u8>) -> Result<(), BadValue> {
    let mut fields = Fields(value);
    let [family, bits, _, len] = fields.fixed()?;
    let address = fields.take(len.into())?;
    fields.end()?;
    let (address, most) = match family {
        IPV4 => (Ipv4Addr::from(exact::<4>(address)?).to_string(), 32),
        IPV6 => (ipv6(exact(address)?), 128),
        _ => return Err(BadValue),
    };
    if bits > most {
        return Err(BadValue);
    }
    push(out, address.as_bytes())?;
    if is_cidr || bits < most {
        push(out, format!("/{bits}").as_bytes())?;
    }
    Ok(())
}

/// An address of which only the last 32 bits are set is written as an IPv4 one, unless only the last 16 are.
fn ipv6(bytes: [u8; 16]) -> String {
    match u128::from_be_bytes(bytes) {
        low @ 0x1_0000..=0xffff_ffff => format!("::{}", Ipv4Addr::from(low as u32)),
        _ => Ipv6Addr::from(bytes).to_string(),
    }
}

/// Six or eight bytes.
pub(super) fn mac_text(value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    if !matches!(value.len(), 6 | 8) {
        return Err(BadValue);
    }
    let bytes: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
    push(out, bytes.join(":").as_bytes())
}
