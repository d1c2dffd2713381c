//! Native detectors of personal data and secrets.

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detector {
    Email,
    Card,
    Ssn,
    Iban,
    Phone,
    Secret,
}

impl Detector {
    /// All of them, in the order of their names in the interface.
    pub(crate) const ALL: [Self; 6] = [Self::Email, Self::Card, Self::Ssn, Self::Iban, Self::Phone, Self::Secret];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Ssn => "ssn",
            Self::Iban => "iban",
            Self::Phone => "phone",
            Self::Secret => "secret",
        }
    }
}

/// Bytes `start..start+len` look like what `wanted[detector]` looks for.
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) detector: usize,
    pub(crate) score: u8,
}

pub(crate) fn scan(_wanted: &[Detector], _value: &[u8], _found: impl FnMut(Hit)) {}
