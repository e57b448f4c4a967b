//! What a worker can be told to do.

use flow::{Actions, Completion, Dumped, PortId, Stats, Submission, Ufid};

use super::reply::{Reply, ReplyParts};
use crate::datapath::DatapathSnapshot;
use crate::port::{Port, PortError};
use crate::upcall::{Resolution, UpcallId};

pub(super) enum WorkerCommand {
    /// The operations in parts, each of which is freed in little time.
    Apply(Vec<Vec<Submission>>, Reply<Vec<Completion>>),
    Resolve(Vec<(UpcallId, Resolution)>),
    Execute {
        frame: Vec<u8>,
        in_port: PortId,
        actions: Actions,
    },
    Receive {
        port: PortId,
        frame: Vec<u8>,
        reply: Reply<bool>,
    },
    AddPort {
        id: PortId,
        port: Box<dyn Port>,
        reply: Reply<Result<(), PortError>>,
    },
    RemovePort {
        id: PortId,
        reply: Reply<Option<Box<dyn Port>>>,
    },
    Stats(ReplyParts<(Ufid, Stats)>),
    Dump(ReplyParts<Dumped>),
    Snapshot(Reply<Box<DatapathSnapshot>>),
    Stop,
}
