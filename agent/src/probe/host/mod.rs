//! The parts of the look at a host: one file per thing that is looked at.
//!
//! Everything is read below a [`root::Root`], so that a snapshot of a gateway is read by the same code as a live one.
//! Every file is text that others wrote: what is read and what is kept of it are bounded, and what can not be read or
//! understood is a failed look that says so.

pub mod root;
