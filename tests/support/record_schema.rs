//! The audit record's schema, as it is shipped, put to records by a validator that knows JSON Schema.

use jsonschema::Validator;
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

/// `docs/audit-record.schema.json`.
pub fn shipped() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit-record.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| jsonschema::validator_for(&shipped()).unwrap());

/// What is wrong with a record; nothing where it is as the schema has it.
pub fn faults(record: &Value) -> Vec<String> {
    VALIDATOR.iter_errors(record).map(|error| format!("{}: {error}", error.instance_path())).collect()
}
