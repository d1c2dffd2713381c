use super::{Detector, Set, Span, begins, is_word, reads};

/// No number that is looked for has more digits.
const MOST_DIGITS: usize = 19;

/// Where to look closer because a run of digits begins here, in order, and what for.
pub(super) fn looks(value: &[u8], at: usize) -> [(usize, Set); 2] {
    const IBAN: Set = Set(0).with(Detector::Iban);
    const PHONE: Set = Set(0).with(Detector::Phone);
    let nothing = (at, Set(0));
    match at.checked_sub(1).map(|before| (before, value[before])) {
        Some((before, b'+' | b'(')) => [(before, PHONE), (at, number_here(value, at))],
        // Behind the letters of a country are digits.
        Some((second, b'A'..=b'Z' | b'a'..=b'z')) => {
            [second.checked_sub(1).map_or(nothing, |first| (first, IBAN)), nothing]
        }
        _ => [(at, number_here(value, at)), nothing],
    }
}

/// Which numbers may begin with this run of digits, by its length and by what comes after it.
fn number_here(value: &[u8], at: usize) -> Set {
    let run = value[at..].iter().take(MOST_DIGITS + 1).take_while(|b| b.is_ascii_digit()).count();
    reads(run);
    let goes_on = matches!(value.get(at + run), Some(b' ' | b'-' | b'.'))
        && matches!(value.get(at + run + 1), Some(b'0'..=b'9' | b'('));
    let mut set = Set(0);
    if goes_on || (13..=MOST_DIGITS).contains(&run) {
        set = set.with(Detector::Card);
    }
    if goes_on && run == 3 {
        set = set.with(Detector::Ssn);
    }
    if goes_on && (run == 3 || run == 1) {
        set = set.with(Detector::Phone);
    }
    set
}

fn is_digit(value: &[u8], at: usize) -> bool {
    value.get(at).is_some_and(u8::is_ascii_digit)
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'))
}

/// The digits `at..at+count` if there are as many and no more.
fn digits(value: &[u8], at: usize, count: usize) -> Option<&[u8]> {
    let digits = value.get(at..at + count).filter(|d| d.iter().all(u8::is_ascii_digit))?;
    (!is_digit(value, at + count)).then_some(digits)
}

/// A payment card: 13 to 19 digits, in groups or not, of a known kind of issuer and with a Luhn checksum that holds.
pub(super) fn card(value: &[u8], at: usize) -> Option<Span> {
    if !begins(value, at) {
        return None;
    }
    let mut number = [0; MOST_DIGITS + 1];
    let (mut count, mut i, mut end) = (0, at, None);
    while is_digit(value, i) && count < number.len() {
        number[count] = value[i] - b'0';
        count += 1;
        i += 1;
        if is_digit(value, i) {
            continue;
        }
        if !is_word(value, i) && (13..=19).contains(&count) && is_issued(&number[..count]) && luhn(&number[..count]) {
            end = Some(i);
        }
        if matches!(value.get(i), Some(b' ' | b'-')) {
            i += 1;
        }
    }
    reads(i - at);
    end.map(|end| at..end)
}

/// Whether some kind of issuer gives out numbers with this beginning and length.
fn is_issued(number: &[u8]) -> bool {
    let Some(prefix) = number.first_chunk::<4>().map(|p| p.iter().fold(0, |n, d| n * 10 + u32::from(*d))) else {
        return false;
    };
    match (prefix / 100, number.len()) {
        (40..=49, 13 | 16 | 19) | (51..=55, 16) | (34 | 37, 15) => true,
        (22..=27, 16) => (2221..=2720).contains(&prefix),
        (30 | 36 | 38 | 39, 14) | (35, 16..=19) => true,
        (50 | 56..=69, 13..=19) => true,
        _ => false,
    }
}

fn luhn(number: &[u8]) -> bool {
    let weigh = |(i, d): (usize, &u8)| match (i % 2, d * 2) {
        (0, _) => u32::from(*d),
        (_, twice) => u32::from(if twice > 9 { twice - 9 } else { twice }),
    };
    number.iter().rev().enumerate().map(weigh).sum::<u32>().is_multiple_of(10)
}

/// A US social security number with separators, of a range that is issued.
pub(super) fn ssn(value: &[u8], at: usize) -> Option<Span> {
    if !begins(value, at) || at > 0 && value[at - 1] == b'-' {
        return None;
    }
    let separator = *value.get(at + 3).filter(|s| matches!(s, b'-' | b' '))?;
    let area = number(digits(value, at, 3)?);
    let group = number(digits(value, at + 4, 2)?);
    let serial = number(digits(value, at + 7, 4)?);
    let issued = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
    let ends = !is_word(value, at + 11) && value.get(at + 11) != Some(&b'-');
    (issued && ends && value.get(at + 6) == Some(&separator)).then_some(at..at + 11)
}

/// How long an IBAN of each country is, from the registry of ISO 13616.
const IBAN_LENGTHS: &[(usize, &str)] = &[
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FO GL NL SD"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH HR LI LV"),
    (22, "BG BH CR DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "LY PT ST"),
    (26, "IS TR"),
    (27, "BI DJ FR GR IT MC MR SM"),
    (28, "AL AZ BY CY DO GT HU LB NI PL SV"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
];

/// An IBAN, in groups or not, whose checksum (ISO 7064, mod 97-10) holds.
pub(super) fn iban(value: &[u8], at: usize) -> Option<Span> {
    let head = value.get(at..at + 4).filter(|h| h[1].is_ascii_alphabetic())?;
    if !begins(value, at) || !head[2].is_ascii_digit() || !head[3].is_ascii_digit() {
        return None;
    }
    let country = [head[0].to_ascii_uppercase(), head[1].to_ascii_uppercase()];
    let of = |countries: &str| countries.as_bytes().chunks(3).any(|c| c[..2] == country);
    let (length, _) = IBAN_LENGTHS.iter().find(|(_, countries)| of(countries))?;
    let mut number = [0; 34];
    let (mut count, mut i) = (0, at);
    while count < *length {
        let byte = *value.get(i)?;
        if byte.is_ascii_alphanumeric() {
            number[count] = byte.to_ascii_uppercase();
            count += 1;
        } else if byte != b' ' || !is_word(value, i - 1) {
            return None;
        }
        i += 1;
    }
    reads(i - at);
    let (head, tail) = number[..count].split_at(4);
    let rest = tail.iter().chain(head).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    (rest == 1 && !is_word(value, i)).then_some(at..i)
}

/// A telephone number: international with `+`, or North American with separators.
pub(super) fn phone(value: &[u8], at: usize) -> Option<Span> {
    match value[at] {
        b'+' => international(value, at),
        _ => american(value, at),
    }
}

fn international(value: &[u8], at: usize) -> Option<Span> {
    let (mut count, mut end, mut i) = (0, at, at + 1);
    if !begins(value, at) || !matches!(value.get(i), Some(b'1'..=b'9')) {
        return None;
    }
    // At most two separators stand together, as in `) `.
    while count < 16 && i < end + 4 {
        match value.get(i) {
            Some(b'0'..=b'9') => {
                count += 1;
                end = i + 1;
            }
            Some(b' ' | b'-' | b'.' | b'(' | b')' | b'/') => {}
            _ => break,
        }
        i += 1;
    }
    reads(i - at);
    ((8..=15).contains(&count) && !is_word(value, end)).then_some(at..end)
}

fn american(value: &[u8], at: usize) -> Option<Span> {
    let is_separator = |at: usize| matches!(value.get(at), Some(b'-' | b'.' | b' '));
    if !begins(value, at) || at > 0 && matches!(value[at - 1], b'-' | b'.' | b'+') {
        return None;
    }
    let trunk = value[at] == b'1' && is_separator(at + 1);
    let area = at + 2 * usize::from(trunk);
    let exchange = if value.get(area) == Some(&b'(') {
        part(value, area + 1)?;
        let close = area + 4;
        (value.get(close) == Some(&b')')).then_some(close + 1 + usize::from(is_separator(close + 1)))?
    } else {
        part(value, area)?;
        is_separator(area + 3).then_some(area + 4)?
    };
    part(value, exchange)?;
    is_separator(exchange + 3).then_some(())?;
    digits(value, exchange + 4, 4)?;
    let end = exchange + 8;
    let goes_on = is_word(value, end) || value.get(end) == Some(&b'-');
    (!goes_on).then_some(at..end)
}

/// An area or an exchange: three digits, the first of them at least 2.
fn part(value: &[u8], at: usize) -> Option<()> {
    digits(value, at, 3).filter(|d| d[0] >= b'2').map(|_| ())
}
