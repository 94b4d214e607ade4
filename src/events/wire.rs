//! Events as the site reads them: a JSON array.

use bytes::Bytes;
use serde::Serialize;

use crate::{
    availability::queue::{Event, Kind},
    clock,
};

/// One event (`openapi.yaml`, "Event").
#[derive(Serialize)]
struct Wire<'a> {
    id: u64,
    at: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}

impl<'a> From<&'a Event> for Wire<'a> {
    fn from(event: &'a Event) -> Self {
        let (kind, user, lost) = match &event.kind {
            Kind::Reset => ("reset", None, None),
            Kind::Online(user) => ("online", Some(user.as_str()), None),
            Kind::Offline(user) => ("offline", Some(user.as_str()), None),
            Kind::Gap { lost } => ("gap", None, Some(*lost)),
        };
        Self {
            id: event.id,
            at: clock::date(event.at),
            kind,
            user,
            lost,
        }
    }
}

/// The body of a batch.
pub(super) fn body<'a>(batch: impl Iterator<Item = &'a Event>) -> Bytes {
    let wires: Vec<Wire<'_>> = batch.map(Wire::from).collect();
    let json = serde_json::to_vec(&wires).expect("text and numbers are JSON");
    json.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::roster::testing::user;

    #[test]
    fn events_are_written_as_the_description_says() {
        let kinds = [
            Kind::Reset,
            Kind::Online(user("john")),
            Kind::Offline(user("söhn")),
            Kind::Gap { lost: 7 },
        ];
        let events: Vec<_> = (1..)
            .zip(kinds)
            .map(|(id, kind)| Event {
                id,
                at: Duration::from_millis(1_500),
                kind,
                is_certain: false,
            })
            .collect();
        assert_eq!(
            body(events.iter()),
            "[{\"id\":1,\"at\":\"1970-01-01T00:00:01Z\",\"type\":\"reset\"},\
             {\"id\":2,\"at\":\"1970-01-01T00:00:01Z\",\"type\":\"online\",\"user\":\"john\"},\
             {\"id\":3,\"at\":\"1970-01-01T00:00:01Z\",\"type\":\"offline\",\"user\":\"söhn\"},\
             {\"id\":4,\"at\":\"1970-01-01T00:00:01Z\",\"type\":\"gap\",\"lost\":7}]"
        );
    }
}
