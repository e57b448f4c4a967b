//! The views that `--json` prints, over HTTP.

use axum::Json;
use axum::extract::{RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use flow::Placement;
use serde::Serialize;
use serde_json::json;

use super::query::Query;
use super::{blocking, unavailable};
use crate::control::methods::{self, Chosen, explained, json};
use crate::control::view::{Flow, ShownState};
use crate::control::{Context, paging};

/// The largest number of flows in one answer. `limit` can only lower it.
pub(super) const PAGE: usize = 1000;
/// The largest number of the engine's pages that are searched for one answer.
const SEARCHED: usize = 64;

pub(super) async fn status(Shared(context): Shared<Context>) -> Response {
    match blocking(context, methods::status).await {
        Ok(status) => Json(ShownState::from(&status)).into_response(),
        Err(why) => unavailable(why),
    }
}

/// A page of megaflows.
#[derive(Serialize)]
pub(super) struct ShownFlows {
    /// Number of megaflows in the place that was asked for, those that don't pass the filter
    /// included.
    pub(super) total: u64,
    /// The cursor of the next page; null if this is the last one. A page with a filter may have
    /// fewer megaflows than `limit`, or none, and not be the last one.
    pub(super) next: Option<u32>,
    /// The megaflows of this page, at most `limit`, in no particular order.
    pub(super) flows: Vec<Flow>,
}

/// Parameters: `where=host|nic|refused`, `filter=…`, `cursor=N`, `limit=N`
pub(super) async fn flows(Shared(context): Shared<Context>, RawQuery(query): RawQuery) -> Response {
    let page = match Selection::parse(query.as_deref()) {
        Ok(selection) => paging(&context, move |context| json(&selection.read(context)?)).await,
        Err(why) => Err(why),
    };
    page.map_or_else(wrong, |page| ([(CONTENT_TYPE, "application/json")], page).into_response())
}

/// Parameters: `flow=FLOW|UFID`, `actions=…`
pub(super) async fn explain(
    Shared(context): Shared<Context>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = match Query::parse(query.as_deref(), &["flow", "actions"]) {
        Ok(query) => query,
        Err(why) => return wrong(why),
    };
    let work = move |context: &Context| {
        let actions = Some(query.text("actions")).filter(|text| !text.is_empty());
        explained(context, query.text("flow"), actions)
    };
    blocking(context, work).await.map_or_else(wrong, |explained| Json(explained).into_response())
}

fn wrong(why: String) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response()
}

/// The flows that a client wants to see.
pub(super) struct Selection {
    pub(super) place: Option<Placement>,
    pub(super) filter: String,
    cursor: u32,
    pub(super) limit: usize,
}

impl Selection {
    pub(super) fn parse(query: Option<&str>) -> Result<Selection, String> {
        let query = Query::parse(query, &["where", "filter", "cursor", "limit"])?;
        let place = match query.text("where") {
            "" => None,
            word => {
                let place = Placement::ALL.into_iter().find(|place| place.name() == word);
                let wrong = || format!("where: '{word}': expected host, nic or refused");
                Some(place.ok_or_else(wrong)?)
            }
        };
        Ok(Selection {
            place,
            filter: query.text("filter").to_owned(),
            cursor: query.number("cursor", 0)?,
            limit: query.number("limit", PAGE)?.min(PAGE),
        })
    }

    /// Reads the page that begins at the cursor. This costs the engine the megaflows that are
    /// shown, or with a condition a bounded search for them.
    pub(super) fn read(&self, context: &Context) -> Result<ShownFlows, String> {
        let chosen = Chosen::parse(context, self.place, &self.filter)?;
        let mut flows = Vec::new();
        let (mut next, mut total) = (Some(self.cursor), 0);
        for _ in 0..SEARCHED {
            let Some(from) = next else { break };
            let room = self.limit - flows.len();
            let most =
                if chosen.is_all() { u32::try_from(room).unwrap_or(u32::MAX) } else { u32::MAX };
            let page = context.handle.page(from, most).map_err(|error| error.to_string())?;
            total = match self.place {
                Some(place) => page.placed.get(&place).copied().unwrap_or(0),
                None => page.placed.values().sum(),
            };
            next = page.next;
            let mut found = page.flows.into_iter().filter(|(_, view)| chosen.has(view)).peekable();
            let mut after = from;
            while flows.len() < self.limit
                && let Some((behind, view)) = found.next()
            {
                flows.push(Flow::from(&view));
                after = behind;
            }
            if found.peek().is_some() {
                next = Some(after);
            }
            if flows.len() == self.limit {
                break;
            }
        }
        Ok(ShownFlows { total, next, flows })
    }
}
