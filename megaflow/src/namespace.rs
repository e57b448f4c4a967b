//! A network namespace that lives as long as one thread: nothing is left behind, however the
//! process ends.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread::JoinHandle;

use flow::MacAddr;
use futures_util::TryStreamExt;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth};

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own; threads that it starts are in the same namespace.
pub struct Namespace {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    namespace: OwnedFd,
}

impl Namespace {
    /// Makes a namespace with loopback up, and with or without IPv6, which sends packets of its
    /// own. Fails where the process may not make namespaces.
    pub fn new(name: &str, ipv6: bool) -> io::Result<Namespace> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let made = enter(ipv6);
            let works = made.is_ok();
            if ready.send(made).is_ok() && works {
                todo.into_iter().for_each(|job| job());
            }
        })?;
        let namespace = is_ready.recv().map_err(io::Error::other)??;
        Ok(Namespace { jobs: Some(jobs), thread: Some(thread), namespace })
    }

    /// Runs a job in the namespace and waits for its result.
    pub fn run<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        self.start(job)?.recv().map_err(|_| io::Error::other("a namespace's thread ended"))?
    }

    /// Starts a job in the namespace. Its result comes over the channel. One job runs at a time.
    pub fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<mpsc::Receiver<T>> {
        let (done, result) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Sending fails if the caller has stopped waiting; nobody needs the result then.
            let _ = done.send(job());
        });
        let jobs = self.jobs.as_ref().ok_or_else(|| io::Error::other("stopped"))?;
        jobs.send(job).map_err(|_| io::Error::other("a namespace's thread ended"))?;
        Ok(result)
    }

    /// Makes a cable (a pair of veth interfaces) from this namespace to another one: `here` is up,
    /// `there` has the address `mac`.
    pub fn cable(
        &self,
        here: &str,
        other: &Namespace,
        there: &str,
        mac: MacAddr,
    ) -> io::Result<()> {
        let (here, there) = (here.to_owned(), there.to_owned());
        let target = other.namespace.try_clone()?;
        self.run(move || {
            netlink(async move |handle| {
                // The other end is made under a name that is free here, and renamed in the other
                // namespace.
                let transit = format!("{here}-peer");
                handle.link().add(LinkVeth::new(&here, &transit).build()).execute().await?;
                let peer = index_of(&handle, &transit).await?;
                let moved = LinkUnspec::new_with_index(peer).name(there);
                let moved = moved.address(mac.0.to_vec()).setns_by_fd(target.as_raw_fd()).build();
                handle.link().set(moved).execute().await?;
                let own = index_of(&handle, &here).await?;
                handle.link().set(LinkUnspec::new_with_index(own).up().build()).execute().await
            })
        })
    }

    /// Makes a Linux bridge with these interfaces as ports.
    pub fn bridge(&self, name: &str, ports: [&str; 2]) -> io::Result<()> {
        let (name, ports) = (name.to_owned(), ports.map(str::to_owned));
        self.run(move || {
            netlink(async move |handle| {
                handle.link().add(LinkBridge::new(&name).up().build()).execute().await?;
                let bridge = index_of(&handle, &name).await?;
                for port in ports {
                    let port = LinkUnspec::new_with_index(index_of(&handle, &port).await?);
                    handle.link().set(port.controller(bridge).build()).execute().await?;
                }
                Ok(())
            })
        })
    }

    /// Brings an interface up with these addresses, usable at once.
    pub fn address(&self, name: &str, addresses: &[(IpAddr, u8)]) -> io::Result<()> {
        let (name, addresses) = (name.to_owned(), addresses.to_vec());
        self.run(move || {
            netlink(async move |handle| {
                let index = index_of(&handle, &name).await?;
                let up = LinkUnspec::new_with_index(index).up().build();
                handle.link().set(up).execute().await?;
                for (address, prefix) in addresses {
                    let mut request = handle.address().add(index, address, prefix);
                    if address.is_ipv6() {
                        // No duplicate address detection: it takes a second and proves nothing.
                        let message = request.message_mut();
                        message.header.flags |= AddressHeaderFlags::Nodad;
                        let flags = AddressAttribute::Flags(AddressFlags::Nodad);
                        message.attributes.push(flags);
                    }
                    request.execute().await?;
                }
                Ok(())
            })
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A job that panicked has said so on stderr already.
            let _ = thread.join();
        }
    }
}

fn enter(ipv6: bool) -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    if !ipv6 {
        for which in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            // If the kernel has no IPv6, there is nothing to turn off.
            let _ = std::fs::write(path, "1");
        }
    }
    netlink(async |handle| {
        let lo = index_of(&handle, "lo").await?;
        handle.link().set(LinkUnspec::new_with_index(lo).up().build()).execute().await
    })?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Talks netlink with the kernel, in the namespace that this thread is in.
fn netlink(talk: impl AsyncFnOnce(Handle) -> Result<(), rtnetlink::Error>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        talk(handle).await.map_err(io::Error::other)
    })
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?;
    Ok(link.map_or(0, |link| link.header.index))
}

/// Moves an unprivileged process into a user namespace of its own, where it may make network
/// namespaces. Must be called before the first thread is started.
pub fn become_root_of_our_own() -> io::Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if uid.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}
