//! Texts about all megaflows, made a page at a time while they are sent. Neither the text nor the
//! megaflows are ever held as a whole, however slowly the client reads.

use flow::Placement;

use super::Context;
use super::ask::{port_names, status};
use crate::control::filter::FlowFilter;
use ::offload::{FlowPage, FlowView};

/// At most this number of pages of megaflows is made at once. So the questions of those who show
/// megaflows are never more than this in the engine's queue, and others wait for no more.
pub(crate) const PAGES_AT_ONCE: usize = 4;

type Render = Box<dyn FnMut(&FlowPage) -> Result<String, String> + Send>;

/// A text about all megaflows.
pub(in crate::control) struct Pages {
    /// Where the next page begins; `None` after the last one.
    from: Option<u32>,
    render: Render,
}

impl Pages {
    /// `render` is called with one page after the other, and its texts together are the answer.
    pub(super) fn new(
        render: impl FnMut(&FlowPage) -> Result<String, String> + Send + 'static,
    ) -> Pages {
        Pages { from: Some(0), render: Box::new(render) }
    }

    /// Returns the next part of the text, which may be empty; `None` after the last one. Blocks
    /// until the engine has answered.
    pub(in crate::control) fn next(&mut self, context: &Context) -> Result<Option<String>, String> {
        let Some(from) = self.from else { return Ok(None) };
        let page = context.handle.page(from, u32::MAX).map_err(|error| error.to_string())?;
        self.from = page.next;
        (self.render)(&page).map(Some)
    }
}

/// The megaflows that a client wants to see.
pub(crate) struct Chosen {
    place: Option<Placement>,
    /// `None` if every megaflow passes.
    filter: Option<FlowFilter>,
}

impl Chosen {
    /// Megaflows that live in that place and pass the filter.
    pub(crate) fn parse(
        context: &Context,
        place: Option<Placement>,
        filter: &str,
    ) -> Result<Chosen, String> {
        if filter.is_empty() {
            return Ok(Chosen { place, filter: None });
        }
        let filter = FlowFilter::parse(filter, &port_names(&status(context)?))?;
        Ok(Chosen { place, filter: Some(filter) })
    }

    /// Returns true if all megaflows are wanted.
    pub(crate) fn is_all(&self) -> bool {
        self.place.is_none() && self.filter.is_none()
    }

    /// Returns true if the megaflow is wanted.
    pub(crate) fn has(&self, view: &FlowView) -> bool {
        self.place.is_none_or(|place| view.placement == place)
            && self.filter.as_ref().is_none_or(|filter| filter.passes(&view.flow.matching))
    }
}
