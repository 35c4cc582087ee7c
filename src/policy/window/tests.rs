//! Windows against instants that are known.

use super::*;

fn window(days: &[&str], hours: &str, zone: &str) -> Result<Window, Fault> {
    Window::compile(&config::TimeWindow {
        days: (!days.is_empty()).then(|| days.iter().map(|day| (*day).to_owned()).collect()),
        hours: (!hours.is_empty()).then(|| hours.to_owned()),
        zone: (!zone.is_empty()).then(|| zone.to_owned()),
        from: None,
        until: None,
    })
}

fn span(from: &str, until: &str) -> Result<Window, Fault> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Window::compile(&config::TimeWindow {
        days: None,
        hours: None,
        zone: None,
        from: text(from),
        until: text(until),
    })
}

fn at(text: &str) -> UnixTime {
    UnixTime(u64::try_from(parse_instant(text).unwrap()).unwrap())
}

#[test]
fn hours_are_those_that_the_zones_clock_shows() {
    let office = window(&["mon-fri"], "08:00-18:00", "Europe/Zurich").unwrap();
    let night = window(&["fri"], "22:00-06:00", "Europe/Zurich").unwrap();
    let weekend = window(&["sat-sun"], "", "Europe/Zurich").unwrap();
    let early = window(&[], "02:00-03:00", "Europe/Zurich").unwrap();
    for (window, instant, holds) in [
        // Friday in winter: one hour ahead of UTC.
        (&office, "2026-11-20T06:59:59Z", false),
        (&office, "2026-11-20T07:00:00Z", true),
        (&office, "2026-11-20T16:59:59Z", true),
        (&office, "2026-11-20T17:00:00Z", false),
        (&office, "2026-11-21T10:00:00Z", false),
        // In summer two hours.
        (&office, "2026-07-03T05:59:59Z", false),
        (&office, "2026-07-03T06:00:00Z", true),
        // Over midnight it belongs to Friday, on which it begins.
        (&night, "2026-11-20T20:59:59Z", false),
        (&night, "2026-11-20T21:00:00Z", true),
        (&night, "2026-11-21T04:59:59Z", true),
        (&night, "2026-11-21T05:00:00Z", false),
        (&night, "2026-11-20T04:00:00Z", false),
        (&night, "2026-11-21T22:00:00Z", false),
        // The zone's Saturday begins before UTC's.
        (&weekend, "2026-11-20T22:59:59Z", false),
        (&weekend, "2026-11-20T23:00:00Z", true),
        (&weekend, "2026-11-22T22:59:59Z", true),
        (&weekend, "2026-11-22T23:00:00Z", false),
        // The hour from two to three is left out in spring and comes twice in autumn.
        (&early, "2026-03-28T01:30:00Z", true),
        (&early, "2026-03-29T00:59:59Z", false),
        (&early, "2026-03-29T01:00:00Z", false),
        (&early, "2026-10-25T00:30:00Z", true),
        (&early, "2026-10-25T01:30:00Z", true),
        (&early, "2026-10-25T02:00:00Z", false),
    ] {
        assert_eq!(window.holds(at(instant)), holds, "{instant} {window:?}");
    }
}

#[test]
fn no_time_is_too_late_to_be_told() {
    let office = window(&["mon-fri"], "08:00-18:00", "Europe/Zurich").unwrap();
    for now in [0, u64::MAX, i64::MAX as u64, 253_402_300_800] {
        let _ = office.holds(UnixTime(now));
    }
}

#[test]
fn a_span_has_its_beginning_and_not_its_end() {
    let freeze = span("2026-12-20T00:00:00Z", "2027-01-03T00:00:00+01:00").unwrap();
    for (instant, holds) in [
        ("2026-12-19T23:59:59Z", false),
        ("2026-12-20T00:00:00Z", true),
        ("2027-01-02T22:59:59Z", true),
        ("2027-01-02T23:00:00Z", false),
    ] {
        assert_eq!(freeze.holds(at(instant)), holds, "{instant}");
    }
    assert!(span("", "2027-01-03T00:00:00Z").unwrap().holds(UnixTime(0)));
    assert!(span("2027-01-03T00:00:00Z", "").unwrap().holds(UnixTime(u64::MAX >> 2)));
}

#[test]
fn refuses_what_is_ambiguous_or_never_comes() {
    for (window, field) in [
        (window(&[], "", ""), ""),
        (window(&["mon"], "", ""), "zone"),
        (window(&["mon"], "", "Mars/Olympus"), "zone"),
        (window(&["Mon"], "", "UTC"), "days"),
        (window(&["mon-"], "", "UTC"), "days"),
        (window(&["monday"], "", "UTC"), "days"),
        (window(&[], "8-18", "UTC"), "hours"),
        (window(&[], "08:00-08:00", "UTC"), "hours"),
        (window(&[], "24:00-08:00", "UTC"), "hours"),
        (window(&[], "08:00-24:01", "UTC"), "hours"),
        (window(&[], "08:60-09:00", "UTC"), "hours"),
        (span("2026-12-20", ""), "from"),
        (span("", "tomorrow"), "until"),
        (span("2027-01-03T00:00:00Z", "2026-12-20T00:00:00Z"), "until"),
    ] {
        assert_eq!(window.unwrap_err().0, field);
    }
    // A Saturday and a Sunday have no Monday.
    let contradiction = config::TimeWindow {
        days: Some(vec!["mon".into()]),
        hours: None,
        zone: Some("UTC".into()),
        from: Some("2026-11-21T00:00:00Z".into()),
        until: Some("2026-11-23T00:00:00Z".into()),
    };
    assert_eq!(Window::compile(&contradiction).unwrap_err().0, "");
}
