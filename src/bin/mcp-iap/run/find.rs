//! Where Envoy and the filter's module are.

use crate::fault::Fault;
use crate::render::WASM;
use std::path::{Path, PathBuf};

/// The Envoy that was named, else the one on PATH, else the newest that `make envoy` brought.
///
/// # Errors
/// There is none; what to do.
pub fn envoy(named: Option<&Path>) -> Result<PathBuf, Fault> {
    if let Some(path) = named {
        let path =
            if path.components().count() == 1 { on_path(path).unwrap_or(path.into()) } else { path.into() };
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Fault::Usage(format!("--envoy {}: there is no such program", path.display())))
        };
    }
    let brought = std::env::var_os("MCP_IAP_DEPS").map_or(".deps".into(), PathBuf::from);
    on_path(Path::new("envoy")).or_else(|| newest(&brought)).ok_or_else(|| {
        Fault::Failed(format!(
            "there is no Envoy: none on PATH, none below {}. Name one with --envoy PATH, or run `make envoy`, which brings one",
            brought.display()
        ))
    })
}

/// The module that was named, else the one that `make build` made, else the one beside this program.
///
/// # Errors
/// There is none; what to do.
pub fn wasm(named: Option<&str>) -> Result<PathBuf, Fault> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("mcp_iap.wasm")));
    let found = match named {
        Some(named) => Some(PathBuf::from(named)).filter(|path| path.is_file()),
        None => [Some(PathBuf::from(WASM)), beside].into_iter().flatten().find(|path| path.is_file()),
    };
    let absolute = found.and_then(|path| std::path::absolute(path).ok());
    absolute.ok_or_else(|| match named {
        Some(named) => Fault::Usage(format!("--wasm {named}: there is no such file")),
        None => Fault::Failed(format!(
            "there is no filter: neither {WASM} nor mcp_iap.wasm beside this program. Run `make build`, or name it with --wasm PATH"
        )),
    })
}

fn on_path(name: &Path) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// `make envoy` puts each version into a folder of its own.
fn newest(folder: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(folder).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let numbers: Option<Vec<u32>> =
            name.strip_prefix("envoy-")?.split('.').map(|part| part.parse().ok()).collect();
        let binary = entry.path().join("envoy/_bin/envoy");
        binary.is_file().then_some((numbers?, binary))
    });
    versions.max().map(|(_, binary)| binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_the_one_with_the_highest_numbers() {
        let folder = std::env::temp_dir().join(format!("mcp-iap-find-{}", std::process::id()));
        for name in ["envoy-1.9.0", "envoy-1.36.4", "envoy-1.40.0", "envoy-2.x", "other-3.0.0"] {
            std::fs::create_dir_all(folder.join(name).join("envoy/_bin")).unwrap();
            std::fs::write(folder.join(name).join("envoy/_bin/envoy"), "").unwrap();
        }
        std::fs::create_dir_all(folder.join("envoy-1.50.0")).unwrap();
        let found = newest(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.unwrap(), folder.join("envoy-1.40.0/envoy/_bin/envoy"));
        assert_eq!(newest(&folder), None);
    }
}
