//! The presets that are compiled in.

use std::collections::BTreeMap;

use crate::model::document::Problem;

use super::Preset;

/// Their files, by name.
const FILES: [(&str, &str); 3] = [
    ("oneshot-form", include_str!("../../../conf/presets/oneshot-form.toml")),
    ("oneshot-json", include_str!("../../../conf/presets/oneshot-json.toml")),
    ("ucp", include_str!("../../../conf/presets/ucp.toml")),
];

/// The presets that are compiled in, by name.
pub fn built_in() -> Result<BTreeMap<String, Preset>, Vec<Problem>> {
    FILES.iter().map(|(name, text)| Preset::parse(text).map(|preset| ((*name).to_owned(), preset))).collect()
}
