//! The views that `--json` prints, over HTTP.

use axum::Json;
use axum::extract::{RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use flow::Placement;
use serde::Serialize;
use serde_json::json;

use super::query::Query;
use super::{blocking, unavailable};
use crate::control::Context;
use crate::control::methods::{self, explained, select};
use crate::control::view::{Flow, State};

/// The largest number of flows in one answer. `limit` can only lower it.
pub(super) const PAGE: usize = 1000;

pub(super) async fn status(Shared(context): Shared<Context>) -> Response {
    match blocking(context, methods::status).await {
        Ok(status) => Json(State::from(&status)).into_response(),
        Err(why) => unavailable(why),
    }
}

/// A page of megaflows.
#[derive(Serialize)]
pub(super) struct Flows {
    /// Number of megaflows that pass the filter.
    pub(super) total: usize,
    /// Number of megaflows that pass the filter and come before the first of this page.
    pub(super) offset: usize,
    /// The megaflows of this page, at most `limit`, sorted by ufid.
    pub(super) flows: Vec<Flow>,
}

/// Parameters: `where=host|nic|refused`, `filter=…`, `offset=N`, `limit=N`
pub(super) async fn flows(Shared(context): Shared<Context>, RawQuery(query): RawQuery) -> Response {
    let page = match Selection::parse(query.as_deref()) {
        Ok(selection) => blocking(context, move |context| selection.read(context)).await,
        Err(why) => Err(why),
    };
    page.map_or_else(wrong, |page| Json(page).into_response())
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
    offset: usize,
    pub(super) limit: usize,
}

impl Selection {
    pub(super) fn parse(query: Option<&str>) -> Result<Selection, String> {
        let query = Query::parse(query, &["where", "filter", "offset", "limit"])?;
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
            offset: query.number("offset", 0)?,
            limit: query.number("limit", PAGE)?.min(PAGE),
        })
    }

    pub(super) fn read(&self, context: &Context) -> Result<Flows, String> {
        let all = select(context, self.place, &self.filter)?;
        let shown = all.iter().skip(self.offset).take(self.limit);
        Ok(Flows { total: all.len(), offset: self.offset, flows: shown.map(Flow::from).collect() })
    }
}
