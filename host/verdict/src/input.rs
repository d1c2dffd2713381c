use serde::{Deserialize, Serialize};

/// What a policy got from its capabilities while it answered one question. With the facts of the question and its settings this is
/// everything that its answer can depend on, so that the question can be asked again with the same result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// The time, in milliseconds since the Unix epoch.
    Clock(u64),
    /// Randomness from the operating system.
    Random(#[serde(with = "octets")] Vec<u8>),
    /// A value of its state, if there was one.
    Get(#[serde(with = "octets::optional")] Option<Vec<u8>>),
    /// Whether a value was put into its state.
    Put(Result<(), String>),
    /// The sum of a counter in its state.
    Increment(Result<i64, String>),
    /// More than is kept: what came after is not known.
    Truncated,
}

impl Input {
    /// The bytes that it counts for.
    pub fn size(&self) -> usize {
        8 + match self {
            Self::Random(bytes) | Self::Get(Some(bytes)) => bytes.len(),
            Self::Put(Err(message)) | Self::Increment(Err(message)) => message.len(),
            Self::Clock(_) | Self::Get(None) | Self::Put(Ok(())) | Self::Increment(Ok(_)) | Self::Truncated => 0,
        }
    }
}

/// Takes down the inputs of one question, up to a bound.
#[derive(Debug, Default)]
pub struct Inputs {
    taken: Vec<Input>,
    bytes: usize,
}

impl Inputs {
    /// The most inputs of a question that are kept.
    pub const MAX_COUNT: usize = 256;

    /// The most bytes of a question's inputs that are kept.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Adds what the policy got next. Beyond the bounds a last [`Input::Truncated`] stands for all that follows.
    pub fn add(&mut self, input: impl FnOnce() -> Input) {
        if self.taken.last() == Some(&Input::Truncated) {
            return;
        }
        let input = input();
        self.bytes += input.size();
        let fits = self.taken.len() < Self::MAX_COUNT && self.bytes <= Self::MAX_BYTES;
        self.taken.push(if fits { input } else { Input::Truncated });
    }

    /// The inputs in order.
    pub fn take(&mut self) -> Vec<Input> {
        std::mem::take(self).taken
    }
}

/// Serde's form of bytes: base64 (RFC 4648 §4) for people, bytes as they are for machines.
mod octets {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Vec<u8>, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(bytes))
        } else {
            bytes.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        if deserializer.is_human_readable() {
            let text = Cow::<'de, str>::deserialize(deserializer)?;
            STANDARD.decode(&*text).map_err(|_| D::Error::custom("this is not base64"))
        } else {
            Vec::deserialize(deserializer)
        }
    }

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Octets(#[serde(with = "super::octets")] Vec<u8>);

    pub(super) mod optional {
        use super::{Deserialize, Deserializer, Octets, Serialize, Serializer};

        #[expect(clippy::ref_option, reason = "serde hands over a reference to the field as it is")]
        pub(in super::super) fn serialize<S: Serializer>(
            bytes: &Option<Vec<u8>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            bytes.clone().map(Octets).serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Vec<u8>>, D::Error> {
            Ok(Option::<Octets>::deserialize(deserializer)?.map(|octets| octets.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_keeps_so_many_inputs() {
        let mut inputs = Inputs::default();
        (0..1000).for_each(|now| inputs.add(|| Input::Clock(now)));
        let taken = inputs.take();
        assert_eq!(taken.len(), Inputs::MAX_COUNT + 1);
        assert_eq!(taken[255..], [Input::Clock(255), Input::Truncated]);
        assert!(inputs.take().is_empty(), "the next question begins anew");
    }

    #[test]
    fn a_question_keeps_so_many_bytes() {
        let mut inputs = Inputs::default();
        (0..100).for_each(|_| inputs.add(|| Input::Random(vec![0; 4096])));
        // What is small does not slip in behind what was left out.
        inputs.add(|| Input::Clock(1));
        let taken = inputs.take();
        assert!(taken.iter().map(Input::size).sum::<usize>() <= Inputs::MAX_BYTES + 8);
        assert_eq!((taken.len(), taken.last()), (16, Some(&Input::Truncated)));
        let mut inputs = Inputs::default();
        inputs.add(|| Input::Get(Some(vec![0; Inputs::MAX_BYTES])));
        inputs.add(|| Input::Clock(1));
        assert_eq!(inputs.take(), [Input::Truncated]);
    }

    #[test]
    fn bytes_are_base64_for_people() {
        let inputs = [Input::Random(vec![0, 255]), Input::Get(None), Input::Get(Some(vec![1])), Input::Truncated];
        let json = serde_json::to_string(&inputs).unwrap();
        assert_eq!(json, r#"[{"random":"AP8="},{"get":null},{"get":"AQ=="},"truncated"]"#);
        assert_eq!(serde_json::from_str::<Vec<Input>>(&json).unwrap(), inputs);
        assert!(serde_json::from_str::<Input>(r#"{"random":"-"}"#).is_err());
    }
}
