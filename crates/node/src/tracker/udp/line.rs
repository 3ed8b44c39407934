//! One tracker's address: its connection id, and how long it has been silent.

use super::Timing;
use super::conn::{Conn, plain};
use samara_proto::tracker::udp::{ConnectionId, ReplyBody, Request, TransactionId};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Mutex as TurnMutex, MutexGuard as Turn};
use tokio::time::{Instant, timeout_at};

/// Doublings of the wait, at most: 240 s. BEP 15 goes on to an hour, for one question; here a silent
/// tracker gets one packet from all torrents together, and one that comes back is found within the
/// five minutes after which trackers over HTTP are asked again.
const DOUBLINGS_MAX: u32 = 4;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Line {
    addr: SocketAddr,
    listen: IpAddr,
    timing: Timing,
    /// Held while an id is fetched: one is enough for everybody.
    session: TurnMutex<Option<Session>>,
    silence: Mutex<Silence>,
}

/// A connection id, and the socket that got it.
#[derive(Clone, Debug)]
struct Session {
    conn: Arc<Conn>,
    id: ConnectionId,
    /// Not used from here on.
    until: Instant,
}

impl Session {
    fn is_good(&self) -> bool {
        self.conn.is_alive() && Instant::now() < self.until
    }
}

#[derive(Debug, Default)]
struct Silence {
    /// Packets in a row that were not answered.
    unanswered: u32,
    /// No packet before this.
    until: Option<Instant>,
}

impl Line {
    pub(super) fn new(addr: SocketAddr, listen: IpAddr, timing: Timing) -> Self {
        Self {
            addr,
            listen,
            timing,
            session: TurnMutex::default(),
            silence: Mutex::default(),
        }
    }

    /// Whether it has not answered, and it is too early to try again.
    pub(super) fn is_silent(&self) -> bool {
        self.silent_for().is_some()
    }

    fn silent_for(&self) -> Option<std::time::Duration> {
        let left = self.silence().until?;
        left.checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one question, `write` making the packet, until it is answered or the budget is spent.
    pub(super) async fn ask(
        &self,
        write: impl Fn(ConnectionId, TransactionId) -> Vec<u8>,
    ) -> Result<ReplyBody, String> {
        let end = Instant::now() + self.timing.budget;
        // The same for packets sent again: a late answer to the first is as good.
        let transaction = transaction();
        let mut renewed = false;
        self.check_silence()?;
        loop {
            let (session, fresh) = self.connected(end).await?;
            let packet = write(session.id, transaction);
            let asked = self.send(&session.conn, end, transaction, &packet).await?;
            match asked {
                // Some trackers say so when they no longer know an id; ours might be one of those.
                Some(ReplyBody::Error(_)) if !fresh && !renewed => {
                    renewed = true;
                    self.drop_session(&session).await;
                }
                Some(body) => return Ok(body),
                None if Instant::now() >= end => return Err(self.no_answer()),
                None => {}
            }
        }
    }

    /// A connection id that can be used, and whether it has just come.
    async fn connected(&self, end: Instant) -> Result<(Session, bool), String> {
        let turn = timeout_at(end, self.session.lock()).await;
        let mut turn: Turn<'_, _> = turn.map_err(|_| self.no_answer())?;
        if let Some(session) = turn.as_ref().filter(|session| session.is_good()) {
            return Ok((session.clone(), false));
        }
        *turn = None;
        // Whoever was here before us may have found out.
        self.check_silence()?;
        let conn = Conn::open(self.addr, self.listen).map_err(|error| plain(&error))?;
        let transaction = transaction();
        let mut packet = Vec::new();
        Request::Connect { transaction }.encode(&mut packet);
        loop {
            match self.send(&conn, end, transaction, &packet).await? {
                Some(ReplyBody::Connect(id)) => {
                    let session = Session {
                        conn: Arc::new(conn),
                        id,
                        until: Instant::now() + self.timing.id_life,
                    };
                    *turn = Some(session.clone());
                    return Ok((session, true));
                }
                Some(other) => return Err(super::unfit(&other)),
                None if Instant::now() >= end => return Err(self.no_answer()),
                None => {}
            }
        }
    }

    /// Sends one packet; `None` if it is not answered in its time.
    async fn send(
        &self,
        conn: &Conn,
        end: Instant,
        transaction: TransactionId,
        packet: &[u8],
    ) -> Result<Option<ReplyBody>, String> {
        let (sent, unanswered) = (Instant::now(), self.silence().unanswered);
        let wait = self.timing.first_wait * (1 << unanswered.min(DOUBLINGS_MAX));
        let asked = timeout_at(end.min(sent + wait), conn.ask(transaction, packet)).await;
        let mut silence = self.silence();
        match asked {
            Ok(answer) => {
                // Also when nobody listens there: that is an answer, and may change at any time.
                *silence = Silence::default();
                answer.map(Some)
            }
            Err(_) => {
                // Questions that wait side by side count as one.
                if silence.unanswered == unanswered {
                    silence.unanswered += 1;
                    silence.until = Some(sent + wait);
                }
                Ok(None)
            }
        }
    }

    /// Forgets a connection id, unless there is a newer one.
    async fn drop_session(&self, old: &Session) {
        let mut turn = self.session.lock().await;
        if turn.as_ref().is_some_and(|session| session.id == old.id) {
            *turn = None;
        }
    }

    fn check_silence(&self) -> Result<(), String> {
        match self.silent_for() {
            Some(left) => Err(format!(
                "no answer so far; it is asked again in {} s",
                left.as_secs() + 1
            )),
            None => Ok(()),
        }
    }

    fn no_answer(&self) -> String {
        format!("no answer within {} s", self.timing.budget.as_secs())
    }
}

/// Not to be guessed by whoever cannot see our packets.
fn transaction() -> TransactionId {
    let [a, b, c, d, ..] = crate::entropy().to_ne_bytes();
    [a, b, c, d]
}
