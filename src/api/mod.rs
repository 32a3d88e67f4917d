//! Floor 6: the control plane's edges over HTTP.

pub mod evidence;
