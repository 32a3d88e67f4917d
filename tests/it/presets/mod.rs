//! `permyx preset`: what is compiled in, and the fixtures of presets.

mod coverage;
mod verbs;
