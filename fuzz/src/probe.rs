//! What readers of the agent's probes need of it: this workspace does not build the agent, whose readers are files that need
//! nothing else.

/// As in `agent/src/probe/host/mod.rs`.
#[cfg(not(test))]
pub mod host {
    pub use crate::host::root;
    pub(crate) use crate::host::{if_there, shorten, snippets};
}

/// As in `agent/src/probe/wire.rs`.
pub mod wire {
    /// `bytes` in hexadecimal, without separators.
    #[must_use]
    pub fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
