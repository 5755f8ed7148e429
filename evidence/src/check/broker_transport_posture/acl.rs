//! Declared against effective rights: what the broker's access control list says, and what clients may really do.
//!
//! The observation holds the entries of the list that speak of the clients which were tried, and what became of their canary
//! messages and subscriptions. The facts are one table, a row for each client, action and topic: declared by evaluating the
//! entries as Mosquitto does (mosquitto.conf(5)), effective by what arrived. An acknowledgement of MQTT 3.1.1 is no right,
//! since brokers acknowledge what they drop; nothing that was delivered to nobody is called denied unless somebody was
//! there who would have received it.

mod list;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::list::{Access, Declared, List, Rule, matches, permission, user};
use super::{Listener, Scope};
use crate::check::{Unknown, segment};
use crate::look::{Failure, FailureKind, Look};

/// Topics below this are what a client of Gatepost may be granted.
pub const CANARY: &str = "gatepost/canary";
/// Topics below this are granted to nobody but the battery's canary, so that they stand for everything outside a role.
pub const FOREIGN: &str = "gatepost/foreign";

/// What was tried at one listener, and what the broker's configuration says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acl {
    /// How many connections were opened for it.
    pub connections: u32,
    /// The most that are opened for it.
    pub connection_limit: u32,
    /// What the broker's configuration declares; null when no configuration file is known.
    pub declared: Option<Look<Declared>>,
    /// The clients that were let in, or should have been.
    pub clients: Vec<Client>,
}

/// The clients that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The configured client.
    Configured,
    /// A client without certificate, user name or password.
    Anonymous,
    /// The battery's sound certificate.
    Canary,
    /// The configured client's certificate under a user name that nobody has.
    OtherUser,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Anonymous => "anonymous",
            Self::Canary => "canary",
            Self::OtherUser => "other_user",
        }
    }
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Which one.
    pub client: Who,
    /// Its client id, a canary name that is used once.
    pub id: String,
    /// The user name it sent.
    pub username: Option<String>,
    /// The common name of the certificate it showed.
    pub common_name: Option<String>,
    /// The listener that it came by, where that is another: then it only lends a hand, and has no rows here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_way_of: Option<String>,
    /// What CONNECT was answered.
    pub connect: Look<Connected>,
    /// What it did to a topic below [`CANARY`]; null when it was not let in.
    pub canary: Option<Spot>,
    /// What it did to a topic below [`FOREIGN`]; null when it was not let in.
    pub foreign: Option<Spot>,
    /// Its subscription to `#`; null when it was not tried.
    pub everything: Option<Look<Wide>>,
    /// Its subscription to `$SYS/#`; null when it was not tried.
    pub sys: Option<Look<Wide>>,
    /// Its will below [`FOREIGN`]; null when it was not tried.
    pub will: Option<Look<Will>>,
}

/// The answer to CONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connected {
    /// The protocol level: 4 for MQTT 3.1.1, 5 for MQTT 5.
    pub level: u8,
    /// The return or reason code of CONNACK.
    pub code: u8,
}

/// What one client did to one topic of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spot {
    /// The code of SUBACK for a filter that all clients' topics match.
    pub subscribe: Look<u8>,
    /// The reason code of PUBACK; null in it for MQTT 3.1.1, which has none.
    pub publish: Look<Option<u8>>,
    /// Whom the message reached.
    pub reached: BTreeSet<Who>,
    /// Why it could not hear everything: its session had ended by the end. Null when it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Failure>,
}

/// A subscription to more than one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wide {
    /// The code of SUBACK.
    pub subscribe: u8,
    /// Who wrote below [`FOREIGN`] while it lasted, with the broker's consent; null for nobody.
    pub writer: Option<Who>,
    /// That message came through.
    pub foreign: bool,
    /// How many messages came that are not Gatepost's, counted and not kept. At most 1000: then it was ended.
    pub others: u32,
    /// How many of them stand on topics that the declared list does not let this client read; null when it is not known.
    pub beyond: Option<u32>,
}

/// A last will, let loose by a connection that broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Will {
    /// What CONNECT with that will was answered.
    pub connect: Connected,
    /// Whom it reached.
    pub reached: BTreeSet<Who>,
}

/// One row of the table: may this client do this to that topic?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Right {
    /// The listener's address.
    pub listener: String,
    /// From where the listener can be reached.
    pub scope: Scope,
    /// The client.
    pub client: Who,
    /// What it does.
    pub action: Action,
    /// The topic: a canary's by what it stands below, or the filter of a subscription.
    pub topic: String,
    /// A configuration of the broker is known, readable or not.
    pub configuration_known: bool,
    /// What the configuration declares; absent without a reason when no configuration is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<Permission>,
    /// What declares it: an entry of the list with its line, or that there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared_by: Option<String>,
    /// An entry of the list grants it, and not merely the want of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<bool>,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Permission>,
}

/// What a client does to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Receives.
    Read,
    /// Publishes.
    Write,
    /// Has published after its connection broke.
    Will,
}

/// Whether something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

impl From<bool> for Permission {
    fn from(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Deny }
    }
}

/// Why something is not known; none when the question does not arise.
type Known<T> = Result<T, Option<String>>;

fn why<T>(words: impl Into<String>) -> Known<T> {
    Err(Some(words.into()))
}

const NEEDS_CANARY: &str = "needs canary of [broker.battery], with `topic readwrite gatepost/foreign/#` in the access \
                            control list";

// ---------------------------------------------------------------------------------------------------------------------
// Declared
// ---------------------------------------------------------------------------------------------------------------------

/// What the configuration says about one right, and by what.
struct Saying {
    declared: Permission,
    by: String,
    granted: bool,
}

fn declared(acl: &Acl, client: &Client, write: bool, topic: &str) -> Known<Saying> {
    let declared = match &acl.declared {
        None => return Err(None),
        Some(Look::Failed(failure)) => return why(failure.to_string()),
        Some(Look::Seen(declared)) => declared,
    };
    if let Some(plugin) =
        ["plugin", "auth_plugin", "global_plugin"].iter().find(|key| declared.directives.contains_key(**key))
    {
        return why(format!("{plugin}: a plugin decides too, and what it decides is not declared in a list"));
    }
    let user = user(declared, client).map_err(Some)?;
    let list = match &declared.list {
        None => return Ok(Saying { declared: Permission::Allow, by: "no acl_file".into(), granted: false }),
        Some(Look::Failed(failure)) => return why(failure.to_string()),
        Some(Look::Seen(list)) => list,
    };
    let (permission, rule) = permission(&list.rules, user, &client.id, write, topic);
    Ok(Saying {
        declared: permission,
        by: rule.map_or_else(|| "no entry".into(), ToString::to_string),
        granted: permission == Permission::Allow,
    })
}

// ---------------------------------------------------------------------------------------------------------------------
// Effective
// ---------------------------------------------------------------------------------------------------------------------

/// A failure of a code of MQTT 5, and 128 of SUBACK in MQTT 3.1.1 (section 3.9.3).
fn refuses(code: u8) -> bool {
    code >= 0x80
}

impl Acl {
    fn spots(&self, foreign: bool) -> impl Iterator<Item = (Who, &Spot)> {
        self.clients.iter().filter_map(move |client| {
            let spot = if foreign { &client.foreign } else { &client.canary };
            spot.as_ref().map(|spot| (client.client, spot))
        })
    }

    /// Whether anybody was seen to receive on that topic, and so would have received more.
    fn watched(&self, foreign: bool) -> bool {
        let there = |who: &Who| self.spots(foreign).any(|(one, spot)| one == *who && spot.gone.is_none());
        self.spots(foreign).any(|(_, spot)| spot.reached.iter().any(there))
    }

    fn may_write(&self, spot: &Spot, foreign: bool) -> Known<Permission> {
        if !spot.reached.is_empty() {
            return Ok(Permission::Allow);
        }
        match &spot.publish {
            Look::Seen(Some(code)) => Ok((!refuses(*code)).into()),
            // Instead of an acknowledgement the broker hung up, as some do.
            Look::Failed(Failure { kind: FailureKind::Closed, .. }) => Ok(Permission::Deny),
            Look::Failed(failure) => why(failure.to_string()),
            Look::Seen(None) if self.watched(foreign) => Ok(Permission::Deny),
            Look::Seen(None) => why(format!(
                "it was acknowledged, which MQTT 3.1.1 does even for what is dropped, and nobody was there who may read \
                 it; {NEEDS_CANARY}"
            )),
        }
    }

    fn may_read(&self, reader: Who, spot: &Spot, foreign: bool) -> Known<Permission> {
        if self.spots(foreign).any(|(_, spot)| spot.reached.contains(&reader)) {
            return Ok(Permission::Allow);
        }
        match &spot.subscribe {
            Look::Seen(code) if refuses(*code) => return Ok(Permission::Deny),
            Look::Failed(Failure { kind: FailureKind::Closed, .. }) => return Ok(Permission::Deny),
            Look::Failed(failure) => return why(failure.to_string()),
            Look::Seen(_) => {}
        }
        if let Some(failure) = &spot.gone {
            return why(format!("it was gone before the end: {failure}"));
        }
        let sent = self.spots(foreign).any(|(_, spot)| self.may_write(spot, foreign) == Ok(Permission::Allow));
        if sent {
            return Ok(Permission::Deny);
        }
        why(format!("nobody was there who may write it; {NEEDS_CANARY}"))
    }

    fn may_have_a_will(&self, client: &Client) -> Known<Permission> {
        match &client.will {
            None => Err(None),
            Some(Look::Failed(failure)) => why(failure.to_string()),
            Some(Look::Seen(will)) if !will.reached.is_empty() => Ok(Permission::Allow),
            Some(Look::Seen(will)) if will.connect.code != 0 => Ok(Permission::Deny),
            Some(Look::Seen(_)) if self.watched(true) => Ok(Permission::Deny),
            Some(Look::Seen(_)) => why(format!("nobody was there who may read it; {NEEDS_CANARY}")),
        }
    }
}

/// Whether messages from outside the client's role come through a subscription to `#`.
fn reads_everything(wide: Option<&Look<Wide>>) -> Known<Permission> {
    match wide {
        None => Err(None),
        Some(Look::Failed(failure)) => why(failure.to_string()),
        Some(Look::Seen(wide)) => match wide {
            Wide { foreign: true, .. } | Wide { beyond: Some(1..), .. } => Ok(Permission::Allow),
            Wide { subscribe, .. } if refuses(*subscribe) => Ok(Permission::Deny),
            Wide { writer: Some(_), .. } => Ok(Permission::Deny),
            _ => why(format!("nobody was there who may write outside the client's role; {NEEDS_CANARY}")),
        },
    }
}

/// The broker keeps its own figures as retained messages, so that they come at once where they may be read.
fn reads_sys(wide: Option<&Look<Wide>>) -> Known<Permission> {
    match wide {
        None => Err(None),
        Some(Look::Failed(failure)) => why(failure.to_string()),
        Some(Look::Seen(wide)) => Ok((wide.others > 0).into()),
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The table
// ---------------------------------------------------------------------------------------------------------------------

/// Adds the rows of `listener` to the table, which stands at `/acl`.
pub(super) fn rows(listener: &Listener, scope: Scope, table: &mut BTreeMap<String, Right>, unknown: &mut Unknown) {
    let acl = match &listener.acl {
        None => return,
        Some(Look::Seen(acl)) => acl,
        Some(Look::Failed(failure)) => {
            unknown.because("/acl", format!("{}: {failure}", listener.address));
            return;
        }
    };
    for client in acl.clients.iter().filter(|client| client.by_way_of.is_none()) {
        for (action, topic, saying, effective) in rights(acl, client) {
            let key = format!("{} {} {} {topic}", listener.address, client.client.name(), action.name());
            let place = format!("/acl/{}", segment(&key));
            let mut row = Right {
                listener: listener.address.clone(),
                scope,
                client: client.client,
                action,
                topic: topic.to_owned(),
                configuration_known: acl.declared.is_some(),
                declared: None,
                declared_by: None,
                granted: None,
                effective: None,
            };
            match saying {
                Ok(Saying { declared, by, granted }) => {
                    (row.declared, row.declared_by, row.granted) = (Some(declared), Some(by), Some(granted));
                }
                Err(Some(why)) => {
                    for fact in ["declared", "declared_by", "granted"] {
                        unknown.because(format!("{place}/{fact}"), &why);
                    }
                }
                Err(None) => {}
            }
            match effective {
                Ok(effective) => row.effective = Some(effective),
                Err(Some(why)) => unknown.because(format!("{place}/effective"), why),
                Err(None) => continue,
            }
            table.insert(key, row);
        }
    }
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Will => "will",
        }
    }
}

/// One row before it is written: action, topic, what is declared, what is effective.
type Row = (Action, &'static str, Known<Saying>, Known<Permission>);

fn rights(acl: &Acl, client: &Client) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    // As deep as those that were tried.
    let of = |below: &str| format!("{below}/look/topic");
    let refused = |failure: &Look<Connected>| match failure {
        Look::Failed(failure) => failure.to_string(),
        Look::Seen(connected) => format!("the client was answered CONNACK {}", connected.code),
    };
    for (topic, spot, foreign) in [(CANARY, &client.canary, false), (FOREIGN, &client.foreign, true)] {
        for action in [Action::Write, Action::Read] {
            let effective = match (spot, action) {
                // That it is turned away is told elsewhere.
                (None, _) if client.client != Who::Configured => Err(None),
                (None, _) => why(refused(&client.connect)),
                (Some(spot), Action::Read) => acl.may_read(client.client, spot, foreign),
                (Some(spot), _) => acl.may_write(spot, foreign),
            };
            rows.push((action, topic, declared(acl, client, action == Action::Write, &of(topic)), effective));
        }
    }
    rows.push((Action::Will, FOREIGN, declared(acl, client, true, &of(FOREIGN)), acl.may_have_a_will(client)));
    let everything = reads_everything(client.everything.as_ref());
    rows.push((Action::Read, "#", declared(acl, client, false, &of(FOREIGN)), everything));
    rows.push((Action::Read, "$SYS/#", declared_sys(acl, client), reads_sys(client.sys.as_ref())));
    rows
}

/// Any entry for a part of `$SYS` declares that the client may read it.
fn declared_sys(acl: &Acl, client: &Client) -> Known<Saying> {
    let saying = declared(acl, client, false, "$SYS/broker/version")?;
    let (Some(Look::Seen(declared)), Permission::Deny) = (&acl.declared, saying.declared) else { return Ok(saying) };
    let Some(Look::Seen(list)) = &declared.list else { return Ok(saying) };
    let user = user(declared, client).map_err(Some)?;
    let part = list.rules.iter().find(|rule| {
        rule.topic.starts_with("$SYS/")
            && matches!(rule.access, Access::Read | Access::Readwrite)
            && (rule.pattern || rule.user.as_deref() == user)
    });
    Ok(part.map_or(saying, |rule| Saying { declared: Permission::Allow, by: rule.to_string(), granted: true }))
}

/// What else follows from the list and from the clients, for the listener as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identities {
    /// The configured client's certificate was tried under another user name.
    pub(super) other_user_tried: Option<bool>,
    /// A list is declared; absent where no configuration is known.
    pub(super) declared: Option<bool>,
    /// Entries that grant everything.
    pub(super) bare_wildcards: Option<Vec<String>>,
    /// Rights hang on the client id.
    pub(super) rights_by_client_id: Option<bool>,
    /// The rights of a certificate stay its own under another user name.
    pub(super) identity_bound: Option<bool>,
}

/// What the list grants to everybody and by client id, and whose rights a borrowed certificate has.
pub(super) fn identities(acl: &Acl, place: &str, unknown: &mut Unknown) -> Identities {
    let declared = acl.declared.as_ref().map(|look| look.seen().is_none_or(|declared| declared.list.is_some()));
    let mut found = Identities {
        other_user_tried: acl.clients.iter().any(|client| client.client == Who::OtherUser).then_some(true),
        declared,
        ..Identities::default()
    };
    match &acl.declared {
        None => {}
        Some(Look::Failed(failure)) => {
            unknown.because(format!("{place}/acl_bare_wildcards"), failure);
            unknown.because(format!("{place}/acl_by_client_id"), failure);
        }
        Some(Look::Seen(Declared { list: Some(Look::Failed(failure)), .. })) => {
            unknown.because(format!("{place}/acl_bare_wildcards"), failure);
            unknown.because(format!("{place}/acl_by_client_id"), failure);
        }
        Some(Look::Seen(declared)) => {
            let rules =
                declared.list.as_ref().and_then(Look::seen).map(|list| list.rules.as_slice()).unwrap_or_default();
            let bare = rules.iter().filter(|rule| rule.topic == "#" && rule.access != Access::Deny);
            let named = |rule: &Rule| match (&rule.user, rule.pattern) {
                (_, true) => format!("{rule} (everybody)"),
                (Some(user), _) => format!("{rule} (user {user})"),
                (None, _) => format!("{rule} (clients without a user name)"),
            };
            found.bare_wildcards = Some(bare.map(named).collect());
            let replaced = declared.directives.get("use_username_as_clientid").is_some_and(|value| value == "true");
            let by_id = |rule: &Rule| rule.pattern && rule.topic.contains("%c") && rule.access != Access::Deny;
            found.rights_by_client_id = Some(!replaced && rules.iter().any(by_id));
        }
    }
    match bound(acl) {
        Ok(bound) => found.identity_bound = Some(bound),
        Err(Some(why)) => unknown.because(format!("{place}/identity_bound"), why),
        Err(None) => {}
    }
    found
}

fn bound(acl: &Acl) -> Known<bool> {
    let client = |who: Who| acl.clients.iter().find(|client| client.client == who);
    let Some(other) = client(Who::OtherUser) else { return Err(None) };
    let (spot, foreign) = match (&other.connect, &other.canary, &other.foreign) {
        (Look::Seen(Connected { code: 0, .. }), Some(canary), Some(foreign)) => (canary, foreign),
        (Look::Seen(Connected { code: 0, .. }), ..) => return why("the client under another user name was not tried"),
        // Refusing such a client is the stricter way to hold a certificate and its name together.
        (Look::Seen(_), ..) => return Ok(true),
        (Look::Failed(failure), ..) => return why(failure.to_string()),
    };
    let own = client(Who::Configured).and_then(|own| Some((own.canary.as_ref()?, own.foreign.as_ref()?)));
    let Some((own, _)) = own else { return why("the configured client was not let in to compare with") };
    if acl.may_write(own, false)? == Permission::Deny {
        return why(format!(
            "the configured client has no right to compare; needs `topic readwrite {CANARY}/#` for it"
        ));
    }
    if acl.may_write(spot, false)? == Permission::Deny {
        return Ok(false);
    }
    if acl.may_write(foreign, true)? == Permission::Allow {
        return why("everybody may write everything, so that rights do not tell who is who");
    }
    Ok(true)
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
