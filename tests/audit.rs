//! `mcp-iap audit` on files as Envoy writes them: what is found, what is told, and what is never printed or lost.

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty folder of this test's own.
fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("audit-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    command.current_dir(folder).arg("audit").args(arguments);
    command
}

fn audit(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A line at this second of 2026-11-21T10:00, with other members of record (`record`), caller and line.
fn line(second: u32, decision: &str, record: &Value, caller: &Value, around: &Value) -> String {
    let mut whole =
        json!({"time": format!("2026-11-21T10:00:{second:02}.500Z"), "status": 200, "flags": "-"});
    let mut one = json!({"schema": 1, "decision": decision, "outcome": "allowed", "reason": "allowed",
        "caller": {"issuer": "https://i", "subject": "dana", "client_id": "agent", "groups": ["dev"]},
        "http_method": "POST", "method": "tools/call", "tool": "get_pods", "rule": "dev-reads"});
    let merge = |into: &mut Value, from: &Value| {
        for (name, value) in from.as_object().unwrap() {
            into[name] = value.clone();
        }
    };
    merge(&mut one["caller"], caller);
    merge(&mut one, record);
    merge(&mut whole, around);
    whole["mcp_iap"] = json!([one]);
    whole.to_string() + "\n"
}

/// Five requests, one of each kind that queries tell apart.
fn five() -> String {
    let none = json!({});
    [
        line(1, "d1", &none, &none, &none),
        line(
            2,
            "d2",
            &json!({"outcome": "refused", "reason": "denied_by_rule", "rule": "freeze", "tool": "scale"}),
            &json!({"subject": "sam"}),
            &json!({"status": 403}),
        ),
        line(3, "d3", &json!({"tool": "get_nodes"}), &none, &json!({"status": 503, "flags": "UF"})),
        line(
            4,
            "d4",
            &json!({"outcome": "aborted", "reason": "client_gone", "tool": null, "rule": null, "caller": null}),
            &none,
            &json!({"status": 0, "flags": "DC"}),
        ),
        line(5, "d5", &json!({"upstream_status": 404}), &json!({"subject": null, "api_key": "ci"}), &json!({"status": 404})),
    ]
    .concat()
}

/// The ids of the decisions that are found.
fn found(folder: &Path, arguments: &[&str]) -> String {
    let arguments = [arguments, &["-o", "json"]].concat();
    let output = audit(folder, &arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    ids(&text(&output.stdout))
}

fn ids(lines: &str) -> String {
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["mcp_iap"][0]["decision"].as_str().unwrap().to_owned()
    };
    lines.lines().map(id).collect::<Vec<_>>().join(" ")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

const QUERIES: &[(&[&str], &str)] = &[
    (&[], "d1 d2 d3 d4 d5"),
    (&["--status", "allowed"], "d1 d3 d5"),
    (&["--status", "refused"], "d2"),
    (&["--status", "failed"], "d2 d3 d4 d5"),
    (&["--status", "ok"], "d1"),
    (&["--status", "403"], "d2"),
    (&["--status", "4xx"], "d2 d5"),
    (&["--status", "4xx", "--status", "503"], "d2 d3 d5"),
    (&["--outcome", "aborted"], "d4"),
    (&["--outcome", "aborted", "--outcome", "refused"], "d2 d4"),
    (&["--reason", "denied_by_rule"], "d2"),
    (&["--user", "dana"], "d1 d3"),
    (&["--user", "agent"], "d1 d2 d3 d5"),
    (&["--user", "ci"], "d5"),
    (&["--user", "d*"], "d1 d3"),
    (&["--tool", "get_pods"], "d1 d5"),
    (&["--tool", "get_*"], "d1 d3 d5"),
    (&["--rule", "freeze"], "d2"),
    (&["--rule", "dev-*", "--user", "dana"], "d1 d3"),
    (&["--decision", "d3"], "d3"),
    (&["--since", "2026-11-21T10:00:03Z"], "d3 d4 d5"),
    (&["--until", "2026-11-21T11:00:03.5+01:00"], "d1 d2"),
    (&["--since", "2026-11-21T10:00:02Z", "--until", "2026-11-21T10:00:04Z", "--status", "failed"], "d2 d3"),
    (&["--since", "30000d"], "d1 d2 d3 d4 d5"),
    (&["--since", "1ms"], ""),
    (&["--limit", "2"], "d4 d5"),
    (&["--limit", "2", "--user", "dana"], "d1 d3"),
    (&["--limit", "0"], ""),
    (&["--tool", "drop"], ""),
];

#[test]
fn each_query_finds_what_it_asks_for() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    for (query, wanted) in QUERIES {
        assert_eq!(found(&folder, &[*query, &["log"]].concat()), *wanted, "{query:?}");
    }
}

#[test]
fn what_can_t_be_asked_is_refused() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    for arguments in [
        &["--status", "maybe", "log"][..],
        &["--status", "9xx", "log"],
        &["--outcome", "allow", "log"],
        &["--reason", "denied_by_rul", "log"],
        &["--since", "yesterday", "log"],
        &["--since", "2026-11-21", "log"],
        &["--limit", "-1", "log"],
        &["--limit", "100001", "log"],
        &["no-such-file"],
        &["."],
        &[],
        &["--follow", "-"],
        &["--max-records", "3", "log"],
    ] {
        assert_eq!(audit(&folder, arguments).status.code(), Some(2), "{arguments:?}");
    }
}

/// Rotated and compressed files, and standard input; in the order of their times, whatever their names.
#[test]
fn files_are_read_as_rotation_leaves_them() {
    let folder = folder();
    let all = five();
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    fs::write(folder.join("audit.log"), lines[4]).unwrap();
    fs::write(folder.join("audit.log.1"), lines[2..4].concat()).unwrap();
    // Compressed twice over, as appending to a compressed file leaves it; of another name, by its content.
    fs::write(folder.join("audit.log.2.gz"), [gzip(lines[0]), gzip(lines[1])].concat()).unwrap();
    fs::copy(folder.join("audit.log.2.gz"), folder.join("by-content")).unwrap();
    assert_eq!(found(&folder, &["audit.log", "audit.log.1", "audit.log.2.gz"]), "d1 d2 d3 d4 d5");
    assert_eq!(found(&folder, &["audit.log", "by-content"]), "d1 d2 d5");
    assert_eq!(found(&folder, &["-n", "3", "audit.log", "audit.log.1", "audit.log.2.gz"]), "d3 d4 d5");
    for input in [all.clone().into_bytes(), gzip(&all)] {
        let mut asked = command(&folder, &["-o", "json", "--user", "sam", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        asked.stdin.take().unwrap().write_all(&input).unwrap();
        assert_eq!(ids(&text(&asked.wait_with_output().unwrap().stdout)), "d2");
    }
}

/// What is cut off is told; what was before is shown.
#[test]
fn a_broken_archive_is_told() {
    let folder = folder();
    let whole = gzip(&five().repeat(50));
    fs::write(folder.join("cut.gz"), &whole[..whole.len() - 20]).unwrap();
    let output = audit(&folder, &["-o", "json", "--limit", "1", "cut.gz"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cut.gz: can't be read further"), "{}", text(&output.stderr));
    assert_eq!(ids(&text(&output.stdout)), "d5");
}

/// Never fatal, never silent.
#[test]
fn lines_that_are_no_records_are_counted() {
    let folder = folder();
    let mut log = b"starting main dispatch loop\n".to_vec();
    log.extend(five().into_bytes());
    log.extend(b"{\"time\":\"2026-11-21T10:00:09Z\",\"status\":400,\"flags\":\"DPE\",\"mcp_iap\":[]}\n\n");
    log.extend(b"{\"mcp_iap\":[{\"schema\":2}]}\n{\"mcp_iap\":[{\"schema\":1}]}\n\xff\xfe\n");
    log.extend(vec![b'['; 3 * 1024 * 1024]);
    log.extend(b"\n");
    log.extend(
        five().replace("10:00:01.500Z", "at noon").lines().next().unwrap().replace("d1", "d6").bytes(),
    );
    fs::write(folder.join("log"), &log).unwrap();
    assert_eq!(found(&folder, &["log"]), "d1 d2 d3 d4 d5 d6");
    let output = audit(&folder, &["--since", "1000d", "log"]);
    let told = text(&output.stderr);
    for part in [
        "mcp-iap: log: line 1 is no line of the access log: expected value at column 1",
        "mcp-iap: log: line 9 is no line of the access log: missing field `decision` at column 24",
        "mcp-iap: 1 line has no record",
        "mcp-iap: 5 lines are none of the access log",
        "mcp-iap: 1 line has no time",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(told.len() < 2000, "{told}");
}

/// What Envoy ended before the filter saw it has a line and no record. Who asks how requests went finds it, and who asks
/// for what stands in records does not.
#[test]
fn lines_without_a_record_are_found_by_their_status() {
    let folder = folder();
    let bare = |second: u32, status: u32, details: &str| {
        let line = json!({"time": format!("2026-11-21T10:00:{second:02}.700Z"), "status": status, "flags": "-",
            "details": details, "mcp_iap": []});
        line.to_string() + "\n"
    };
    let log = [
        bare(0, 431, "e431"),
        five(),
        bare(8, 0, "e0"),
        bare(9, 200, "e200"),
        "{\"mcp_iap\":[]}\n".to_owned(),
    ];
    fs::write(folder.join("log"), log.concat()).unwrap();
    let found = |arguments: &[&str]| {
        let output = audit(&folder, &[arguments, &["-o", "json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let id = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["mcp_iap"][0]["decision"].as_str().or(line["details"].as_str()).unwrap().to_owned()
        };
        text(&output.stdout).lines().map(id).collect::<Vec<_>>().join(" ")
    };
    let queries: [(&[&str], &str); 11] = [
        (&[], "d1 d2 d3 d4 d5"),
        (&["--status", "failed"], "e431 d2 d3 d4 d5 e0"),
        (&["--status", "failed", "--limit", "2"], "d5 e0"),
        (&["--status", "failed", "--since", "2026-11-21T10:00:05Z"], "d5 e0"),
        (&["--status", "4xx"], "e431 d2 d5"),
        (&["--status", "0"], "d4 e0"),
        (&["--status", "ok"], "d1 e200"),
        (&["--status", "failed", "--status", "ok", "--limit", "9"], "e431 d1 d2 d3 d4 d5 e0 e200"),
        (&["--status", "failed", "--user", "*"], "d2 d3 d5"),
        (&["--status", "failed", "--reason", "client_gone"], "d4"),
        (&["--status", "refused"], "d2"),
    ];
    for (arguments, wanted) in queries {
        assert_eq!(found(&[arguments, &["log"]].concat()), wanted, "{arguments:?}");
        // Read into an index once, and what is there is not taken up again.
        assert_eq!(found(&[arguments, &["--index", "index", "log"]].concat()), wanted, "{arguments:?}");
    }
    let again = [five().lines().next().unwrap(), "\n", &bare(8, 0, "e0"), &bare(9, 503, "e503")].concat();
    fs::write(folder.join("excerpt"), again).unwrap();
    let wanted = "e431 d2 d3 d4 d5 e0 e503";
    assert_eq!(found(&["--status", "failed", "--index", "index", "excerpt"]), wanted);
    let output = audit(&folder, &["--status", "431", "log"]);
    let row = text(&output.stdout).lines().nth(1).unwrap().to_owned();
    assert!(
        row.starts_with("2026-11-21 10:00:00  -         431") && row.trim_end().ends_with("no record (e431)"),
        "{row}"
    );
    let page = audit(&folder, &["--status", "failed", "log", "--html", "page.html"]);
    assert_eq!(page.status.code(), Some(0));
    let page = fs::read_to_string(folder.join("page.html")).unwrap();
    assert!(page.contains("\"outcome\":\"no record\"") && page.contains("\"reason\":\"e431\""), "{page}");
}

/// Whoever chooses names chooses nothing that a terminal obeys: not in records, not in lines that are none.
#[test]
fn nothing_that_a_terminal_obeys_is_printed() {
    let folder = folder();
    let evil = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{2028}\r\u{8}\0";
    let record = json!({"outcome": evil, "reason": evil, "rule": evil, "method": evil, "tool": evil, "argument": evil,
        "arguments": {evil: evil}, "shadow": {"outcome": evil}, "protected_resource": evil});
    let caller = json!({"subject": evil, "client_id": format!("{evil}x"), "groups": [evil]});
    let log = line(1, "d1", &record, &caller, &json!({"flags": evil, "source": evil, "time": evil}));
    // As Envoy's text format writes it, and as something else might.
    let raw = log.replace("\\u202e", "\u{202e}").replace("\\u009b", "\u{9b}").replace("\\u2028", "\u{2028}");
    let log = format!("{log}{raw}\u{1b}[2J{evil}\n{{\"\u{1b}[31m\":1}}\n");
    let name = "\u{1b}[2Jlog";
    fs::write(folder.join(name), log).unwrap();
    for arguments in [&[name][..], &["-o", "json", name], &["-n", "9", name], &["--index", "index", name]] {
        let output = audit(&folder, arguments);
        assert_eq!(output.status.code(), Some(0));
        for (text, name) in [(text(&output.stdout), "output"), (text(&output.stderr), "errors")] {
            let is_obeyed = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2028}');
            assert!(!text.contains(is_obeyed), "{arguments:?}, {name}: {text:?}");
            assert!(text.lines().count() >= 2, "{arguments:?}, {name}: {text:?}");
        }
    }
}

#[test]
fn the_table_says_who_what_and_why() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    let table = text(&audit(&folder, &["log", "--limit", "4"]).stdout);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["TIME", "OUTCOME", "CALLER", "METHOD"]);
    assert_eq!(
        lines[1][..9],
        ["2026-11-21", "10:00:02", "refused", "403", "sam", "by", "agent", "tools/call", "scale"]
    );
    assert!(
        table.lines().nth(1).unwrap().ends_with("denied_by_rule (freeze)  a rule denies this"),
        "{table}"
    );
    assert!(table.lines().nth(4).unwrap().ends_with("the upstream answered 404"), "{table}");
}

/// Who reads no more, as `head` does, ends it, and gets no complaint.
#[test]
fn a_reader_that_leaves_is_no_fault() {
    let folder = folder();
    fs::write(folder.join("log"), five().repeat(5000)).unwrap();
    let mut asked = command(&folder, &["log"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(asked.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = asked.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

/// Through a rename, a truncation, and a line that comes in two pieces.
#[test]
fn what_is_followed_is_shown_once_and_whole() {
    let folder = folder();
    let all = five();
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let log = folder.join("log");
    let append = |path: &Path, text: &str| {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append(&log, &lines[..3].concat());
    let mut following = command(&folder, &["--follow", "--limit", "2", "-o", "json", "log"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(following.stdout.take().unwrap()).lines().map(|line| ids(&line.unwrap()));
    let mut next = || shown.next().unwrap();
    assert_eq!([next(), next()], ["d2", "d3"], "the newest of what is there");
    let (begin, end) = lines[3].split_at(100);
    append(&log, begin);
    std::thread::sleep(std::time::Duration::from_millis(500));
    append(&log, end);
    assert_eq!(next(), "d4");
    // Renamed: who wrote it goes on for a moment, then a new one is there.
    fs::rename(&log, folder.join("log.1")).unwrap();
    append(&folder.join("log.1"), lines[4]);
    append(&log, lines[0]);
    assert_eq!([next(), next()], ["d5", "d1"]);
    // Who writes it has not opened the new one yet.
    append(&folder.join("log.1"), lines[2]);
    assert_eq!(next(), "d3");
    append(&log, &format!("no record\n{}", lines[1]));
    assert_eq!(next(), "d2");
    fs::write(&log, lines[4]).unwrap();
    assert_eq!(next(), "d5", "truncated");
    following.kill().unwrap();
    let output = following.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert!(told.contains("log: line 2 is no line of the access log: expected ident at column 2"), "{told}");
}

/// The same answers as from the files, and nothing is read twice: also of a file that was renamed or compressed since.
#[test]
fn an_index_answers_as_its_files_do() {
    let folder = folder();
    let all = five();
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let log = folder.join("log");
    fs::write(&log, lines[..2].concat() + "no record\n" + &lines[2][..50]).unwrap();
    assert_eq!(found(&folder, &["--index", "index", "log"]), "d1 d2");
    assert_eq!(folder.join("index").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = audit(&folder, &["--index", "index", "log", "-o", "json"]);
    assert_eq!((ids(&text(&again.stdout)), text(&again.stderr)), ("d1 d2".to_owned(), String::new()));
    // The rest of the line comes, and more; then the file is rotated, and compressed.
    let whole = lines[..2].concat() + "no record\n" + &lines[2..4].concat();
    fs::write(&log, &whole).unwrap();
    assert_eq!(found(&folder, &["--index", "index", "log"]), "d1 d2 d3 d4");
    fs::rename(&log, folder.join("log.1")).unwrap();
    fs::write(&log, lines[4]).unwrap();
    assert_eq!(found(&folder, &["--index", "index", "log", "log.1"]), "d1 d2 d3 d4 d5");
    fs::write(folder.join("log.2.gz"), gzip(&whole)).unwrap();
    let again = audit(&folder, &["--index", "index", "log", "log.2.gz", "-o", "json"]);
    assert_eq!(
        (ids(&text(&again.stdout)), text(&again.stderr)),
        ("d1 d2 d3 d4 d5".to_owned(), String::new())
    );
    for (query, wanted) in QUERIES {
        assert_eq!(found(&folder, &[*query, &["--index", "index"]].concat()), *wanted, "{query:?}");
    }
}

#[test]
fn an_index_keeps_the_newest() {
    let folder = folder();
    let all = five();
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    fs::write(folder.join("new"), lines[3..].concat()).unwrap();
    fs::write(folder.join("old"), lines[..3].concat()).unwrap();
    assert_eq!(found(&folder, &["--index", "index", "new", "old", "--max-records", "3"]), "d3 d4 d5");
    // What was given up does not come back.
    assert_eq!(found(&folder, &["--index", "index", "new", "old"]), "d3 d4 d5");
    // Without a file it only answers.
    let output = audit(&folder, &["--index", "index", "--max-records", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("name the files as well"), "{}", text(&output.stderr));
    assert_eq!(found(&folder, &["--index", "index"]), "d3 d4 d5");
    assert_eq!(found(&folder, &["--index", "index", "--max-records", "1", "new"]), "d5");
}

/// The attack: another file with the same beginning, of which as much would not be read as was read of the first.
#[test]
fn a_file_is_known_by_more_than_its_beginning() {
    let folder = folder();
    let all = five();
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let log = folder.join("log");
    // Lines of one length, so that the next one begins where reading would go on.
    let same = |decision: &str| lines[2].replace("d3", decision);
    for (number, (before, after)) in [
        (lines[0].to_owned() + lines[4], all.clone()),
        (same("a") + &same("b") + &same("c"), same("a") + &same("x") + &same("y") + &same("c") + &same("z")),
        (all.clone(), lines[0].to_owned() + lines[3]),
    ]
    .into_iter()
    .enumerate()
    {
        for is_compressed in [false, true] {
            let index = format!("index-{number}-{is_compressed}");
            let write = |text: &str| match is_compressed {
                true => fs::write(&log, gzip(text)).unwrap(),
                false => fs::write(&log, text).unwrap(),
            };
            write(&before);
            let _ = found(&folder, &["--index", &index, "log"]);
            write(&after);
            let both = found(&folder, &["--index", &index, "log"]);
            for id in ids(&before).split(' ').chain(ids(&after).split(' ')) {
                assert!(both.split(' ').any(|found| found == id), "{id} of {both}, {number} {is_compressed}");
            }
        }
    }
    // An excerpt that is a beginning is gone on with, and line numbers with it.
    fs::write(&log, lines[..2].concat()).unwrap();
    assert_eq!(found(&folder, &["--index", "grown", "log"]), "d1 d2");
    fs::write(&log, lines[..2].concat() + "no record\n" + lines[2]).unwrap();
    let output = audit(&folder, &["--index", "grown", "log", "-o", "json"]);
    assert_eq!(ids(&text(&output.stdout)), "d1 d2 d3");
    assert!(text(&output.stderr).contains("log: line 3 is no line"), "{}", text(&output.stderr));
}

/// A line that is longer than what is compared, and one of which nothing is kept.
#[test]
fn long_lines_are_gone_on_with() {
    let folder = folder();
    let long = line(1, "long", &json!({"tool": "x".repeat(9000)}), &json!({}), &json!({}));
    let too_long = "[".repeat(2 * 1024 * 1024) + "\n";
    let all = five();
    for (name, first) in [("long", long.clone()), ("too-long", long + &too_long)] {
        fs::write(folder.join("log"), &first).unwrap();
        assert_eq!(found(&folder, &["--index", name, "log"]), "long");
        fs::write(folder.join("log"), first + &all).unwrap();
        assert_eq!(found(&folder, &["--index", name, "log", "--limit", "3"]), "d3 d4 d5");
    }
}

/// An index has what the log has: it is made for its owner, where its name says, and only on purpose.
#[test]
fn an_index_is_its_owners_own() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    for arguments in [&["--index", "mistyped"][..], &["--index", "mistyped", "no-such-file"]] {
        assert_eq!(audit(&folder, arguments).status.code(), Some(2), "{arguments:?}");
        assert!(!folder.join("mistyped").exists());
    }
    fs::write(folder.join("victim"), "").unwrap();
    std::os::unix::fs::symlink("victim", folder.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("dangling")).unwrap();
    for name in ["link", "dangling", "."] {
        assert_eq!(audit(&folder, &["--index", name, "log"]).status.code(), Some(2), "{name}");
    }
    assert_eq!(fs::read(folder.join("victim")).unwrap(), b"");
    assert!(!folder.join("nowhere").exists());
    assert_eq!(found(&folder, &["--index", "index", "log"]), "d1 d2 d3 d4 d5");
    for (mode, code, said) in [
        (0o600, 0, ""),
        (0o644, 0, "index: others can read it (mode 644)"),
        (0o660, 1, "index: others can write it (mode 660)"),
    ] {
        fs::set_permissions(folder.join("index"), PermissionsExt::from_mode(mode)).unwrap();
        let output = audit(&folder, &["--index", "index"]);
        assert_eq!(output.status.code(), Some(code), "{mode:o}");
        let told = text(&output.stderr);
        assert!(told.contains(said) && (!said.is_empty() || told.is_empty()), "{told}");
    }
}

/// What is checked is what is opened: SQLite would take these names for a URI, or for no file.
#[test]
fn a_name_is_a_files_whatever_it_looks_like() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    assert_eq!(found(&folder, &["--index", "victim", "log"]), "d1 d2 d3 d4 d5");
    std::os::unix::fs::symlink("victim", folder.join("link")).unwrap();
    let before = fs::read(folder.join("victim")).unwrap();
    fs::write(folder.join("new"), line(9, "d9", &json!({}), &json!({}), &json!({}))).unwrap();
    for name in ["file:victim", "file:link?x=1", ":memory:"] {
        assert_eq!(found(&folder, &["--index", name, "new"]), "d9", "{name}");
        assert_eq!(fs::read(folder.join("victim")).unwrap(), before, "{name}");
        assert!(folder.join(name).metadata().unwrap().len() > 0, "{name}");
        assert_eq!(found(&folder, &["--index", name]), "d9", "{name}");
    }
    fs::create_dir(folder.join("below")).unwrap();
    std::os::unix::fs::symlink("below", folder.join("way")).unwrap();
    assert_eq!(found(&folder, &["--index", "way/index", "new"]), "d9");
    assert!(folder.join("below/index").exists());
}

/// Who owns a file can write it, whatever its mode says. Only root can give one away.
#[test]
fn an_index_of_another_user_is_refused() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    assert_eq!(found(&folder, &["--index", "index", "log"]), "d1 d2 d3 d4 d5");
    let is_root = rustix::process::geteuid().is_root();
    let given = std::os::unix::fs::chown(folder.join("index"), Some(65534), None);
    assert_eq!(given.is_ok(), is_root, "{given:?}");
    let output = audit(&folder, &["--index", "index"]);
    assert_eq!(output.status.code(), Some(i32::from(is_root)));
    assert_eq!(text(&output.stderr).contains("index: is another user's (65534)"), is_root);
}

#[test]
fn what_is_no_index_is_left_alone() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    let other = rusqlite::Connection::open(folder.join("other.sqlite")).unwrap();
    other.execute_batch("CREATE TABLE records (a)").unwrap();
    for name in ["log", "other.sqlite"] {
        let before = fs::read(folder.join(name)).unwrap();
        let output = audit(&folder, &["--index", name, "log"]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output.stdout));
        assert_eq!(fs::read(folder.join(name)).unwrap(), before, "{name}");
    }
}

/// The page itself is tested where it is made, and in a browser.
#[test]
fn a_page_has_what_was_asked_for() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    let output = audit(&folder, &["log", "--html", "report.html", "--user", "dana"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("2 requests, from 2026-11-21T10:00:01.500Z to 2026-11-21T10:00:03.500Z"), "{page}");
    assert!(page.contains("\"d1\"") && page.contains("\"d3\"") && !page.contains("\"d2\""));
    assert_eq!(folder.join("report.html").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

/// Somebody's device must not become a file.
#[test]
fn a_page_replaces_nothing_but_a_file() {
    let folder = folder();
    fs::write(folder.join("log"), five()).unwrap();
    fs::write(folder.join("other"), "other").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    std::os::unix::fs::symlink("other", folder.join("link")).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    for name in ["socket", "link", "folder"] {
        let before = folder.join(name).symlink_metadata().unwrap().file_type();
        let output = audit(&folder, &["log", "--html", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(text(&output.stderr).contains("is no regular file"), "{}", text(&output.stderr));
        assert_eq!(folder.join(name).symlink_metadata().unwrap().file_type(), before, "{name}");
    }
    assert_eq!(fs::read(folder.join("other")).unwrap(), b"other");
    assert_eq!(audit(&folder, &["log", "--html", "other"]).status.code(), Some(0));
}
