//! A network that breaks, between the daemon and its bucket.

use std::sync::Arc;
use std::time::Duration;

use crate::soak;
use crate::support::Server;
use crate::support::fault_proxy::{Fault, FaultProxy, Half, Mode, What};
use crate::support::rig::{PATIENCE, until};
use crate::world::World;

/// A world behind a proxy, with a first task, and the target's name.
fn world(server: &Arc<Server>) -> (World, FaultProxy, String) {
    let proxy = FaultProxy::start(&server.endpoint);
    let (mut world, target) = World::behind(server, &proxy.endpoint);
    world.put("a.json");
    world.rig.start();
    assert!(world.tasks_or_dead(1));
    (world, proxy, target)
}

/// It heals by itself, after a minute at most; the short form asks it to look at once.
fn heal(world: &mut World) {
    if !soak() {
        world.rig.sync();
    }
    world.goes_on();
}

/// Promise 26: the object is written and the answer breaks at this byte, or the request does.
pub fn l26_a_push_whose_answer_breaks_anywhere(server: Arc<Server>) {
    let (mut world, proxy, target) = world(&server);
    let step = if soak() { 1 } else { 60 };
    let answers = (0..300).step_by(step).map(|at| (Half::Down, at));
    let requests = (0..1_500).step_by(step * 5).map(|at| (Half::Up, at));
    for (n, (half, at)) in answers.chain(requests).enumerate() {
        let what = if n % 2 == 0 { What::Reset } else { What::Cut };
        let before = proxy.struck();
        proxy.set(Mode::Only(format!("PUT /{target}/done/"), Fault { half, at, what }));
        world.label(0, &format!("choice {n}"));
        // Some offsets lie beyond the end.
        until("the fault, or the push", PATIENCE, || (proxy.struck() > before || world.is_pushed(0)).then_some(()));
        proxy.set(Mode::Open);
        assert!(world.pushed_or_dead(0), "{what:?} at byte {at} of {half:?}");
    }
    assert!(proxy.struck() > 5, "the faults came to pass");
    heal(&mut world);
}

/// Promise 32: what is saved meanwhile arrives, the last content of each.
pub fn l32_an_outage_loses_nothing(server: Arc<Server>) {
    let (mut world, proxy, _) = world(&server);
    for n in 1..8 {
        world.put(&format!("{n}.json"));
    }
    assert!(world.tasks_or_dead(8));
    // The writes of these fail; of the others the object is looked for first, and that fails.
    for id in 0..4 {
        world.label(id, "before");
        assert!(world.pushed_or_dead(id));
    }
    let long = if soak() { 150 } else { 6 };
    proxy.set(Mode::Refuse);
    for round in 0..long {
        for id in 0..8 {
            world.label(id, &format!("round {round}"));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    // A try was given up, and all of it still waits.
    world.rig.until_status("the outage", |status| {
        let given_up = !status["target"]["poll"]["error"].is_null();
        given_up && status["state"] == "degraded" && status["target"]["pending"] == 8
    });
    assert!(proxy.struck() < 20 + 6 * long, "{} connections: it waits longer and longer", proxy.struck());
    proxy.set(Mode::Open);
    heal(&mut world);
}

/// Promises 1, 5, 26, 52, 74, 76: every request breaks for a while, each time in another way.
pub fn l01_l76_connections_that_break_anywhere(server: Arc<Server>) {
    let (mut world, proxy, _) = world(&server);
    let offsets: &[u64] =
        if soak() { &[0, 1, 16, 100, 200, 300, 400, 600, 800, 1_200, 2_000] } else { &[0, 17, 300, 700] };
    let mut faults = Vec::new();
    for half in [Half::Down, Half::Up] {
        for what in [What::Reset, What::Cut] {
            faults.extend(offsets.iter().map(|at| Fault { half, at: *at, what }));
        }
        faults.push(Fault { half, at: 0, what: What::Slow(2_000) });
        if soak() {
            faults.extend(offsets.iter().map(|at| Fault { half, at: *at, what: What::Stall }));
        }
    }
    for (n, fault) in faults.into_iter().enumerate() {
        proxy.set(Mode::Every(fault));
        world.put(&format!("{n:03}.json"));
        world.label(0, &format!("choice {n}"));
        std::thread::sleep(Duration::from_millis(if fault.what == What::Stall { 35_000 } else { 1_200 }));
        world.look();
    }
    assert!(proxy.struck() > 5, "the faults came to pass");
    proxy.set(Mode::Open);
    heal(&mut world);
}

/// Promise 74: a byte of a body becomes another one on its way: no task ever says what no object said. Every offset that is
/// taken may lie in the head or in the body; of a listing only TLS can say that it is damaged.
pub fn l74_a_byte_that_flips_on_its_way_becomes_no_task(server: Arc<Server>) {
    let (mut world, proxy, _) = world(&server);
    let source = world.source();
    let step = if soak() { 13 } else { 160 };
    for (n, at) in (200..1_500).step_by(step).enumerate() {
        let before = proxy.struck();
        proxy.set(Mode::Only(format!("GET /{source}/f"), Fault { half: Half::Down, at, what: What::Flip }));
        // A long text: most offsets are in it.
        world.put(&format!("f{n:03} {}.json", "x".repeat(800)));
        // Some offsets lie beyond the end.
        until("the fault, or the task", PATIENCE, || {
            let tasks = world.look();
            (proxy.struck() > before || tasks > n + 1).then_some(())
        });
        world.look();
        proxy.set(Mode::Open);
        assert_eq!(world.rig.sync(), 0);
        assert_eq!(world.look(), n + 2, "the true one comes as soon as it can");
    }
    assert!(proxy.struck() > 5, "the faults came to pass");
    heal(&mut world);
}
