//! What is shipped in `monitoring/` says what the code says.

use mcp_iap::reason::Reason;

/// Else a reason that is new is not alerted of.
#[test]
fn the_alert_counts_every_failed_authentication_and_nothing_else() {
    let alerts = include_str!("../monitoring/alerts.yaml");
    let (_, rest) = alerts.split_once("reason=~\"").unwrap();
    let (listed, _) = rest.split_once('"').unwrap();
    let failed = Reason::ALL.iter().filter(|reason| reason.is_failed_authentication());
    let failed: Vec<_> = failed.map(|reason| reason.code()).collect();
    assert_eq!(listed.split('|').collect::<Vec<_>>(), failed);
    // The record's three selectors are one.
    assert_eq!(alerts.matches(&format!("{{reason=~\"{listed}\"}}")).count(), 3);
}

#[test]
fn every_reason_that_an_alert_names_exists() {
    let alerts = include_str!("../monitoring/alerts.yaml");
    let lists = alerts.split("reason=~\"").skip(1).filter_map(|rest| rest.split_once('"'));
    for reason in lists.flat_map(|(list, _)| list.split('|')) {
        assert!(Reason::ALL.iter().any(|known| known.code() == reason), "{reason}");
    }
}
