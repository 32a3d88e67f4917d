//! Who seems to be calling, in the record of what was decided.

mod calls;
mod verbs;
