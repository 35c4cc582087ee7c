//! Who acts for the subject of a token, by its claim `act` (RFC 8693 section 4.1): nobody decides by it, and a record
//! names them. Whatever the claim holds, what is kept of it is bounded.

use crate::json::Value;

/// How many are kept.
pub const MAX_ACTORS: usize = 8;
/// How much of a text is kept, in bytes.
const MAX_TEXT: usize = 256;

/// Those who act, the one that does now first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actors {
    /// The first of them.
    pub chain: Vec<Actor>,
    /// Whether there is more in the claim, or something that names nobody.
    pub is_incomplete: bool,
}

/// One who acts, as far as the claim tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// `iss`
    pub issuer: Option<String>,
    /// `sub`
    pub subject: Option<String>,
    /// `client_id`
    pub client_id: Option<String>,
}

impl Actors {
    /// Reads the claim, of whatever form it is.
    #[must_use]
    pub fn of(claim: &Value) -> Self {
        let mut actors = Self::default();
        let mut next = Some(claim);
        while let Some(act) = next {
            let Some(members) = act.as_object().filter(|_| actors.chain.len() < MAX_ACTORS) else {
                actors.is_incomplete = true;
                break;
            };
            let mut text = |name: &str| match members.get(name)? {
                Value::String(text) if !text.is_empty() => {
                    let kept = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
                    actors.is_incomplete |= kept.len() < text.len();
                    Some(kept.to_owned())
                }
                _ => {
                    actors.is_incomplete = true;
                    None
                }
            };
            let actor = Actor { issuer: text("iss"), subject: text("sub"), client_id: text("client_id") };
            actors.is_incomplete |= actor == Actor::default();
            actors.chain.push(actor);
            next = members.get("act");
        }
        actors
    }

    /// About how many bytes this takes.
    pub(super) fn held_bytes(&self) -> usize {
        let texts = |actor: &Actor| {
            let Actor { issuer, subject, client_id } = actor;
            let texts = [issuer, subject, client_id].into_iter().flatten();
            texts.map(String::len).fold(size_of::<Actor>(), usize::saturating_add)
        };
        self.chain.iter().map(texts).fold(size_of::<Self>(), usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn told(claim: &Value) -> (Vec<String>, bool) {
        let Actors { chain, is_incomplete } = Actors::of(claim);
        let each = chain.into_iter().map(|Actor { issuer, subject, client_id }| {
            [issuer, subject, client_id].map(Option::unwrap_or_default).join("|")
        });
        (each.collect(), is_incomplete)
    }

    #[test]
    fn the_one_who_acts_now_comes_first() {
        let claim = json!({"sub": "agent", "iss": "https://i", "act": {"sub": "gateway", "client_id": "g",
            "exp": 1, "email": "x", "act": {"client_id": "first"}}});
        let wanted = ["https://i|agent|", "|gateway|g", "||first"].map(str::to_owned).to_vec();
        assert_eq!(told(&claim), (wanted, false));
    }

    /// What can't be read is not passed over in silence: it would look as if the subject acted by himself.
    #[test]
    fn what_names_nobody_is_said() {
        for (claim, chain) in [
            (json!(null), vec![]),
            (json!("agent"), vec![]),
            (json!(["agent"]), vec![]),
            (json!(7), vec![]),
            (json!({}), vec!["||"]),
            (json!({"email": "x"}), vec!["||"]),
            (json!({"sub": 7}), vec!["||"]),
            (json!({"sub": ""}), vec!["||"]),
            (json!({"sub": ["a"], "client_id": "c"}), vec!["||c"]),
            (json!({"sub": "a", "iss": {"sub": "b"}}), vec!["|a|"]),
            (json!({"sub": "a", "act": null}), vec!["|a|"]),
            (json!({"sub": "a", "act": "b"}), vec!["|a|"]),
            (json!({"sub": "a", "act": [{"sub": "b"}]}), vec!["|a|"]),
        ] {
            let wanted = chain.into_iter().map(str::to_owned).collect();
            assert_eq!(told(&claim), (wanted, true), "{claim}");
        }
    }

    #[test]
    fn a_long_chain_of_long_names_is_cut() {
        let mut claim = json!({"sub": "é".repeat(200), "iss": "i".repeat(4_000)});
        for _ in 0..40 {
            claim = json!({"sub": "x".repeat(257), "act": claim});
        }
        let actors = Actors::of(&claim);
        assert!(actors.is_incomplete && actors.held_bytes() < MAX_ACTORS * (3 * MAX_TEXT + 100));
        assert_eq!(actors.chain.len(), MAX_ACTORS);
        let one = Actors::of(&json!({"sub": format!("a{}", "é".repeat(200))}));
        assert_eq!(one.chain[0].subject.as_deref().map(str::len), Some(255));
        // As many as there may be, none of them cut.
        let whole =
            (1..MAX_ACTORS).fold(json!({"sub": "a"}), |act, _| json!({"sub": "x".repeat(256), "act": act}));
        assert!(!Actors::of(&whole).is_incomplete);
        assert!(Actors::of(&json!({"sub": "a", "act": whole})).is_incomplete);
    }

    proptest! {
        #[test]
        fn whatever_the_claim_holds_what_is_kept_is_bounded(text in "[{}\\[\\]\":,a-z0-9]{0,80}", depth in 0..60_usize) {
            let inner = serde_json::from_str(&text).unwrap_or(Value::from(text));
            let claim = (0..depth).fold(inner, |act, _| json!({"act": act}));
            let actors = Actors::of(&claim);
            prop_assert!(actors.chain.len() <= MAX_ACTORS);
            prop_assert!(actors.is_incomplete || depth <= MAX_ACTORS);
        }
    }
}
