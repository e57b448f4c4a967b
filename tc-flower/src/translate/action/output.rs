//! `output` and `recirc`.

use flow::refusal::Words;
use flow::{ActionKind, Detail, PortId, Reason, RecircId, Refusal, Subject};

use super::{List, no_recirculation, order};
use crate::netlink::consts::TC_ACT_EXT_VAL_MASK;
use crate::rule::TcAction;

impl List<'_> {
    /// Translates an output: a redirect at the end of the list, a copy before that.
    pub(super) fn output(&mut self, port: PortId, last: bool) -> Result<(), Refusal> {
        let refuse =
            |why: Words| Err(Refusal::new(Reason::Port, Subject::Output(port)).detail(why));
        let Some(device) = self.target.ports.get(&port) else {
            return refuse(&"the port has no interface on a switchdev NIC");
        };
        let came_in = self.context.device;
        if came_in.is_some_and(|came_in| device.switch_id != came_in.switch_id) {
            return refuse(&"the port is on another switch than in_port");
        }
        let ifindex = device.ifindex;
        let redirect = TcAction::Redirect { ifindex };
        self.out.push(if last { redirect } else { TcAction::Mirror { ifindex } });
        Ok(())
    }

    pub(super) fn recirc(&mut self, id: RecircId, last: bool) -> Result<(), Refusal> {
        if !self.target.recirculation {
            return Err(no_recirculation());
        }
        if !last {
            return Err(order(ActionKind::Recirc, &"tc does not come back from a chain"));
        }
        if id.0 == 0 || id.0 > TC_ACT_EXT_VAL_MASK {
            return Err(Refusal::new(Reason::Recirculation, ActionKind::Recirc)
                .detail(Detail::OfHex(&"chain {}: expected 1 to 0xfffffff", id.0)));
        }
        self.out.push(TcAction::Goto { chain: id.0 });
        Ok(())
    }
}
