//! A record that is written: what the upstream answers is added at its end.

use super::Outcome;
use crate::mcp::Told;
use crate::reason::Reason;
use std::fmt::Write as _;

/// A record that is written, to which nothing comes but what the upstream answers.
#[derive(Debug)]
pub struct Written {
    pub(super) json: String,
    /// Names this decision.
    pub decision: String,
    /// How the request ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
}

impl Written {
    /// One JSON object on one line.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Adds the upstream's status, as the last member.
    pub fn add_upstream_status(&mut self, status: u16) {
        self.add(format_args!("\"upstream_status\":{status}"));
    }

    /// Adds how the upstream answered, as the last member; whether there is something to be told.
    pub fn add_answer(&mut self, told: Told) -> bool {
        match told {
            Told::Good => return false,
            Told::Error(code) => self.add(format_args!("\"answer\":{{\"error\":{code}}}")),
            Told::ToolError => self.add(format_args!("\"answer\":{{\"is_error\":true}}")),
            Told::Unread => self.add(format_args!("\"answer\":{{\"unread\":true}}")),
        }
        true
    }

    fn add(&mut self, member: std::fmt::Arguments<'_>) {
        if self.json.pop() == Some('}') {
            let _ = write!(self.json, ",{member}}}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Record;

    #[test]
    fn what_the_upstream_answers_is_added_as_it_would_have_been_written() {
        let mut record = Record::new("d".into());
        let mut written = record.write();
        written.add_upstream_status(502);
        record.upstream_status = Some(502);
        assert_eq!(written.json(), record.to_json());
    }
}
