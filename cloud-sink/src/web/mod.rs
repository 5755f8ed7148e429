//! The pages.
use crate::problem::Refusal;
/// CSP.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'";
/// Style.
pub async fn style() -> &'static str {
    ""
}
macro_rules! stub { ($($m:ident: $($f:ident),*;)*) => { $( #[allow(missing_docs)] pub mod $m { use super::Refusal; $( pub async fn $f() -> Result<(), Refusal> { Ok(()) } )* } )* } }
stub! { report: page; sign_in: form, sign_in, sign_out; fleet: page; gateway: page, promote; run: page; delta: page; }
