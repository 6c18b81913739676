//! A segment far outside its connection's window, which conntrack calls INVALID and nat therefore leaves alone: it
//! reaches a socket that knows nothing of the connection, whose RST breaks the connection off. `drop-invalid` is for that.

use crate::packets::app;
use crate::scene::{APP, Scene, Way};
use crate::{agree, runs};
use millrace_core::rules::Protocol;
use millrace_core::rules::trace::{Outcome, Packet, Path, State, trace};
use millrace_core::settings::{Families, Interface, Mode, Settings};
use millrace_rig::net::lab::{GATEWAY, POD};
use millrace_rig::net::segment::{ACK, Line, RST, SYN, Segment};
use millrace_rig::net::{Namespace, PATIENCE};
use std::net::{IpAddr, TcpStream};

/// Further than any window reaches, whichever way it is counted.
const FAR: u32 = 1 << 30;
/// Excluded by default, and nobody listens there.
const UNHEARD: u16 = 15021;

/// A connection from the world to the application, captured by the proxy, and the line it uses.
struct Connection {
    line: Line,
    local: u16,
    /// The pod's first segment, which says where both sides count from.
    greeting: Segment,
    _stream: TcpStream,
}

impl Connection {
    fn new(scene: &Scene, family: usize) -> Connection {
        let line = Line::new(&scene.lab.world, GATEWAY[family], POD[family]);
        let to = app(family);
        let connect = || TcpStream::connect_timeout(&to, PATIENCE).expect("the proxy listens");
        let stream = scene.lab.world.within(connect);
        let local = stream.local_addr().expect("it is connected").port();
        let greets = |said: &Segment| said.flags == SYN | ACK && said.destination == local;
        let greeting = std::iter::from_fn(|| line.receive()).find(greets).expect("it was greeted");
        Connection { line, local, greeting, _stream: stream }
    }

    /// Sends a stray, and after it a segment that is answered whatever the rules: whether the stray was, too.
    fn stray_is_answered(&self) -> bool {
        let Segment { sequence, acknowledged, .. } = self.greeting;
        let stray = Segment {
            source: self.local,
            destination: APP,
            sequence: acknowledged.wrapping_add(FAR),
            acknowledged: sequence.wrapping_add(1),
            flags: ACK,
        };
        self.line.send(&stray);
        self.line.send(&Segment { destination: UNHEARD, flags: SYN, ..stray });
        let mut answered = false;
        for said in std::iter::from_fn(|| self.line.receive()) {
            answered |= said.flags & RST != 0 && (said.source, said.destination) == (APP, self.local);
            if said.flags & RST != 0 && said.source == UNHEARD {
                return answered;
            }
        }
        panic!("the second segment was not answered");
    }
}

fn invalid(family: usize) -> Packet {
    let [source, destination]: [IpAddr; 2] = [GATEWAY[family], POD[family]];
    Packet {
        path: Path::Received,
        interface: Interface::new("eth0").expect("a name"),
        protocol: Some(Protocol::Tcp),
        source,
        destination,
        source_port: 40_000,
        destination_port: APP,
        owner: None,
        mark: 0,
        connection_mark: 0,
        state: State::Invalid,
    }
}

#[test]
fn a_stray_breaks_a_captured_connection_off_unless_invalid_is_dropped() {
    let name = "a_stray_breaks_a_captured_connection_off_unless_invalid_is_dropped";
    for way in Way::ALL {
        if !runs(name, way.programs()) {
            continue;
        }
        for (mode, drop_invalid) in [(Mode::Redirect, false), (Mode::Redirect, true), (Mode::Tproxy, true)] {
            let settings = Settings { mode, drop_invalid, ..Settings::default() };
            let scene = Scene::around(Namespace::new(), way, &settings, Families::Both);
            for family in [0, 1] {
                let connection = Connection::new(&scene, family);
                let before = scene.observed(way);
                let answered = connection.stray_is_answered();
                let after = scene.observed(way);
                let told = trace(&scene.plan.rules, &invalid(family));
                let dropped = told.outcome == Outcome::Dropped;
                assert_eq!((dropped, answered), (drop_invalid, !drop_invalid), "{way:?} {mode:?} {family}");
                // Silence alone would not say who kept it.
                let last = told.steps.last().filter(|_| dropped);
                let counted = last.map(|step| {
                    let packets = |observed| agree::packets(observed, step.place, step.number);
                    packets(&after) - packets(&before)
                });
                assert_eq!(counted, drop_invalid.then_some(1), "{way:?} {mode:?} {family}");
            }
        }
    }
}
