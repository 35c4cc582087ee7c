//! Records as one static page: who called what, and what decided it. It fetches nothing, and its policy (CSP 3) lets
//! no script run but its own, by its hash. What callers chose stands in it as JSON without `<`, `>` and `&`, and with
//! everything written out that is not plainly visible.

use super::entry::Seen;
use super::newest::Newest;
use crate::fault::Fault;
use crate::run::terminal::escape;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mcp_iap::audit::Document;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");
/// How many requests stand in a page one by one, unless `--limit` says it.
const USUAL: usize = 2_000;
/// How many kinds of calls are told apart.
const MAX_CALLS: usize = 5_000;

/// What stands in the place of an outcome, where there is no record.
const NO_RECORD: &str = "no record";

/// What one kind of call is told by: caller, call, outcome, reason, rule.
type Call = (String, String, String, String, String);

/// A page that is being made.
pub struct Page {
    file: PathBuf,
    newest: Newest,
    calls: BTreeMap<Call, u64>,
    total: u64,
    others: u64,
    times: Option<(String, String)>,
}

impl Page {
    pub fn new(file: &Path, limit: Option<usize>) -> Self {
        Self {
            file: file.to_owned(),
            newest: Newest::new(limit.unwrap_or(USUAL)),
            calls: BTreeMap::new(),
            total: 0,
            others: 0,
            times: None,
        }
    }

    /// `place`: as in [`Newest::add`].
    pub fn add(&mut self, seen: Box<Seen>, place: i64) {
        self.total = self.total.saturating_add(1);
        if let Some(time) = &seen.around.time {
            let (first, last) = self.times.get_or_insert_with(|| (time.clone(), time.clone()));
            if time < first {
                first.clone_from(time);
            }
            if time > last {
                last.clone_from(time);
            }
        }
        let record = seen.record.as_ref();
        let kind = (
            caller(record).to_owned(),
            call(record),
            record.map_or(NO_RECORD, |record| &record.outcome).to_owned(),
            reason(&seen).to_owned(),
            record.and_then(|record| record.rule.clone()).unwrap_or_default(),
        );
        let is_full = self.calls.len() >= MAX_CALLS;
        match self.calls.get_mut(&kind) {
            Some(count) => *count = count.saturating_add(1),
            None if is_full => self.others = self.others.saturating_add(1),
            None => {
                self.calls.insert(kind, 1);
            }
        }
        self.newest.add(seen, b"", place);
    }

    /// A file is written anew; what else has its name, as a device or a link, is not ours to replace.
    pub fn may_replace(file: &Path) -> Result<(), Fault> {
        match file.symlink_metadata() {
            Ok(there) if !there.is_file() => {
                let what = "is there and is no regular file, so it is not replaced: name another file";
                Err(Fault::Usage(format!("{}: {what}", file.display())))
            }
            _ => Ok(()),
        }
    }

    /// Writes the file, readable for its owner alone.
    pub fn write(self) -> Result<(), Fault> {
        let file = self.file.clone();
        Self::may_replace(&file)?;
        let mut part = file.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        // One that an earlier run left may be readable for others.
        let _ = std::fs::remove_file(&part);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)
            .and_then(|mut out| out.write_all(self.into_text().as_bytes()))
            .and_then(|()| std::fs::rename(&part, &file));
        written.map_err(|error| Fault::Failed(format!("{}: {error}", file.display())))
    }

    fn into_text(self) -> String {
        let Self { file: _, newest, calls, total, others, times } = self;
        let span = times.map(|(first, last)| format!(", from {} to {}", escape(&first), escape(&last)));
        let mut told = format!("{total} requests{}", span.unwrap_or_default());
        if others > 0 {
            told.push_str(&format!("; {others} of them of further kinds, which are counted in no row"));
        }
        let mut calls: Vec<_> = calls.into_iter().collect();
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let calls: Vec<Value> = calls
            .into_iter()
            .map(|((caller, call, outcome, reason, rule), count)| {
                json!({"count": count, "caller": escape(&caller), "call": escape(&call), "outcome": escape(&outcome),
                    "reason": escape(&reason), "rule": escape(&rule)})
            })
            .collect();
        let records: Vec<Value> = newest.into_lines().iter().rev().map(|(seen, _)| row(seen)).collect();
        let data = in_script(&json!({"told": told, "calls": calls, "records": records}));
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        // Each place stands once, and what is put there last is what callers chose.
        PAGE.replacen("{script}", &hash(JS), 1)
            .replacen("{style}", &hash(CSS), 1)
            .replacen("{css}", CSS, 1)
            .replacen("{js}", JS, 1)
            .replacen("{data}", &data, 1)
    }
}

fn caller(record: Option<&Document>) -> &str {
    record.and_then(|record| record.caller.as_ref()).map_or("-", |caller| caller.name())
}

/// Of a request without a record, Envoy's word for how it ended.
fn reason(seen: &Seen) -> &str {
    match &seen.record {
        Some(record) => &record.reason,
        None => seen.around.details.as_deref().or(seen.around.flags.as_deref()).unwrap_or_default(),
    }
}

fn call(record: Option<&Document>) -> String {
    let Some(record) = record else { return "-".to_owned() };
    let method = record.method.as_deref().or(record.http_method.as_deref()).unwrap_or("-");
    record.operand().map_or_else(|| method.to_owned(), |(_, name)| format!("{method} {name}"))
}

fn row(seen: &Seen) -> Value {
    let Seen { around, record } = seen;
    let record = record.as_ref();
    let text = |text: Option<&str>| escape(text.unwrap_or_default());
    let arguments = record
        .into_iter()
        .flat_map(|record| &record.arguments)
        .map(|(name, value)| format!("{name}={value}"));
    let shadow = record.and_then(|record| record.shadow.as_ref()).map(|shadow| match &shadow.rule {
        Some(rule) => format!("{} by {rule}", shadow.outcome),
        None => shadow.outcome.clone(),
    });
    json!({"time": text(around.time.as_deref()), "status": around.status, "caller": escape(caller(record)),
        "client": text(record.and_then(|record| record.caller.as_ref()?.client_id.as_deref())),
        "call": escape(&call(record)), "outcome": escape(record.map_or(NO_RECORD, |record| &record.outcome)),
        "reason": escape(reason(seen)), "rule": text(record.and_then(|record| record.rule.as_deref())), "arguments": escape(&arguments.collect::<Vec<_>>().join(" ")),
        "shadow": text(shadow.as_deref()), "decision": text(record.map(|record| record.decision.as_str()))})
}

/// JSON that means the same within a `script` element, which ends at `</script` and knows `<!--` (HTML, 4.12.1.3).
fn in_script(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Line, read};
    use super::*;

    const ATTACKS: &[&str] = &[
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "]]></SCRIPT ><img src=x onerror=alert(1)>",
        "\" onmouseover=\"alert(1)",
        "javascript:alert(1)",
        "{js}{css}{data}{script}",
        "\u{2028}\u{202e}\u{1b}[2J\0",
        "&lt;script&gt;",
    ];

    fn page(names: &[&str]) -> String {
        let mut page = Page::new(Path::new("unused"), None);
        for name in names {
            let record = json!({"schema": 1, "decision": name, "outcome": name, "reason": name, "rule": name,
                "caller": {"subject": name, "client_id": name, "groups": []}, "method": name, "tool": name,
                "arguments": {*name: name}, "shadow": {"outcome": name, "rule": name}});
            let line = json!({"time": name, "status": 200, "mcp_iap": [record]}).to_string();
            let Line::Entry(entry) = read(line.as_bytes()) else { panic!("{line}") };
            page.add(Box::new((*entry).into()), 0);
        }
        page.into_text()
    }

    /// Whoever chooses a name can change no element of the page: it has the same elements without one.
    #[test]
    fn what_callers_chose_is_no_part_of_the_page() {
        let elements = |page: &str| page.matches('<').count();
        let empty = page(&[]);
        for attack in ATTACKS {
            let text = page(&[attack]);
            assert_eq!(elements(&text), elements(&empty), "{attack}");
            let data = text.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["records"][0]["call"], format!("{0} {0}", escape(attack)), "it is shown whole");
            assert!(data.to_string().chars().all(|c| !c.is_control() && c != '\u{202e}' && c != '\u{2028}'));
        }
    }

    #[test]
    fn its_policy_lets_its_own_script_and_style_run_and_nothing_else() {
        let text = page(&[]);
        let policy = text.split_once("content=\"").unwrap().1.split_once('"').unwrap().0;
        let between =
            |open: &str, close: &str| text.rsplit_once(open).unwrap().1.split_once(close).unwrap().0;
        for (kind, own) in
            [("script", between("<script>", "</script>")), ("style", between("<style>", "</style>"))]
        {
            let hash = STANDARD.encode(Sha256::digest(own));
            assert!(policy.contains(&format!("{kind}-src 'sha256-{hash}';")), "{policy}");
        }
        assert!(policy.starts_with("default-src 'none';"));
        for outside in ["http:", "https:", "//", "src=", "href=", "url(", "@import", "innerHTML", "eval"] {
            let own = [PAGE, CSS, &JS.replace("// ", "")].concat();
            assert!(!own.contains(outside), "{outside}");
        }
    }

    #[test]
    fn calls_are_counted_and_bounded() {
        let names: Vec<String> = (0..MAX_CALLS + 7).map(|number| format!("t{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["t0"]).collect();
        let text = page(&names);
        assert!(text.contains("; 7 of them of further kinds"));
        assert!(text.contains("\"count\":2"));
        assert_eq!(text.matches("\"status\":200").count(), USUAL);
    }
}
