//! The presets that are compiled in.

use std::collections::BTreeMap;

use crate::model::document::Problem;

use super::Preset;

/// A preset's file, and its fixtures that stand beside it.
struct Files {
    name: &'static str,
    preset: &'static str,
    fixtures: &'static str,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(Files {
            name: $name,
            preset: include_str!(concat!("../../../conf/presets/", $name, ".toml")),
            fixtures: include_str!(concat!("../../../conf/presets/", $name, ".test.toml")),
        }),*]
    };
}

const FILES: &[Files] = files!["acp", "medusa", "oneshot-form", "oneshot-json", "ucp", "vendure", "woocommerce"];

/// The files of the presets that are compiled in, by name.
#[must_use]
pub fn texts() -> BTreeMap<&'static str, &'static str> {
    FILES.iter().map(|files| (files.name, files.preset)).collect()
}

/// The presets that are compiled in, by name.
pub fn built_in() -> Result<BTreeMap<String, Preset>, Vec<Problem>> {
    FILES.iter().map(|files| Preset::parse(files.preset).map(|preset| (files.name.to_owned(), preset))).collect()
}

/// A compiled-in preset as it is written.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    FILES.iter().find(|files| files.name == name).map(|files| files.preset)
}

/// The fixtures of a compiled-in preset as they are written.
#[must_use]
pub fn fixtures(name: &str) -> Option<&'static str> {
    FILES.iter().find(|files| files.name == name).map(|files| files.fixtures)
}
