//! What is noted of a request beside what its message says: its session, and what rules read of it.

use super::lists::SESSION;
use super::request::Request;
use crate::head::One;
use crate::policy::{Call, Denial};

impl Request {
    /// Notes the session that the request says it is of.
    pub(super) fn note_session(&self) {
        if let One::Text(id) = self.head.one(SESSION) {
            let key = self.settings.audit.digest_key.as_ref();
            self.note(|record| record.note_session(key, id.as_bytes()));
        }
    }

    /// Notes of a call that is decided, `denied` or not, what the rules read that are about it, and what shadow rules
    /// would have decided otherwise.
    pub(super) fn note_rules(&self, call: &Call<'_>, denied: Option<&Denial>) {
        self.note_attributes(call);
        self.compare(call, denied);
    }

    fn note_attributes(&self, call: &Call<'_>) {
        let audit = &self.settings.audit;
        let (true, Ok(resource), Some(shown)) = (audit.notes_attributes, self.resource(), audit.shown())
        else {
            return;
        };
        let sets = [Some(&resource.policies), resource.shadow.as_ref()];
        let mut reads = sets.into_iter().flatten().flat_map(|rules| rules.reads_of(call));
        let secrets = self.secrets();
        self.note(|record| record.note_attributes(&mut reads, call, &shown, &secrets));
    }
}
