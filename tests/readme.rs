//! The README shows what really ran: its demo is that of `docs/demo.txt`, its example the shipped one. Its
//! commands are run by `make test-docs`.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The code blocks of this kind, in order.
fn blocks<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A row of the demo's table, or the title of its second part.
fn is_row(line: &str) -> bool {
    ["     STEP", "pass ", "TOKEN EXCHANGE: "].iter().any(|start| line.starts_with(start))
}

/// What is shown of its second part.
#[test]
fn the_token_exchange_is_the_golden_one() {
    let (shown, demo) = (read("docs/token-separation.md"), read("docs/demo.txt"));
    let blocks = blocks(&shown, "text");
    let block = blocks.iter().find(|block| block.starts_with("TOKEN EXCHANGE: ")).unwrap();
    let golden = demo.split_once("TOKEN EXCHANGE: ").unwrap().1;
    let rows: Vec<&str> = golden.lines().take_while(|line| !line.is_empty()).collect();
    let shown: Vec<&str> = block.lines().collect();
    assert_eq!(shown.iter().filter(|line| is_row(line)).count(), rows.len());
    for line in shown.into_iter().filter(|line| !line.is_empty()) {
        assert!(demo.lines().any(|golden| golden.starts_with(line)), "{line}");
    }
}

#[test]
fn the_demo_is_the_golden_one() {
    let (readme, demo) = (read("README.md"), read("docs/demo.txt"));
    let shown = blocks(&readme, "text")[0];
    let lines: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
    let golden: Vec<&str> = demo.lines().filter(|line| is_row(line) || line.ends_with("failed")).collect();
    assert_eq!(lines.len(), golden.len());
    for (line, golden) in lines.iter().zip(golden) {
        assert!(golden.starts_with(line), "{line}\nis not how this begins:\n{golden}");
    }
    let record = blocks(&readme, "json")[0].trim();
    assert!(demo.lines().any(|line| line == record), "{record}");
}

#[test]
fn the_example_is_the_shipped_one() {
    let (readme, example) = (read("README.md"), read("examples/smallest.yaml"));
    for line in blocks(&readme, "yaml")[0].lines() {
        assert!(example.lines().any(|shipped| shipped.starts_with(line)), "{line}");
    }
}

#[test]
fn the_module_is_no_larger_than_said() {
    assert!(read("README.md").contains("less than 2 MiB of WebAssembly"));
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/mcp_iap.wasm");
    let size = fs::metadata(module).unwrap_or_else(|_| panic!("run `make build`")).len();
    assert!(size < 2 * 1024 * 1024, "{size} bytes");
}
