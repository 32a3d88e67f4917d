//! Users, encryption, sentinels and clusters: real ones.

use super::*;

fn address(server: &Server) -> Address {
    Address { host: "127.0.0.1".to_owned(), port: server.port }
}

async fn usable_within(bench: &Bench, what: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while let Err(why) = bench.ledger.health().usable {
        assert!(tokio::time::Instant::now() < deadline, "{what}: {why}");
        tokio::time::sleep(POLL).await;
    }
}

/// Reserves, and again as long as a busy machine lets the answer come too late: that burns nothing.
async fn reserve_in_time(bench: &Bench, claim: impl Fn() -> Claim) -> (Claim, Result<Reserve, LedgerError>) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let claim = claim();
        match bench.ledger.reserve(claim.clone()).await {
            Err(LedgerError::Unavailable(Trouble::TooFewReplicas | Trouble::TimedOut))
                if tokio::time::Instant::now() < deadline => {}
            answer => break (claim, answer),
        }
    }
}

/// Burns a token and finds it burned.
async fn burns(bench: &Bench) -> Claim {
    let (claim, held) = match reserve_in_time(bench, || bench.claim()).await {
        (claim, Ok(Reserve::First(held))) => (claim, held),
        (_, other) => panic!("not first: {other:?}"),
    };
    bench.ledger.settle(held, Settlement::Burned, None).await.unwrap();
    let (_, again) = reserve_in_time(bench, || Claim { trace: TraceId::random(), ..claim.clone() }).await;
    assert!(matches!(again, Ok(Reserve::Known(Entry { state: State::Spent(Spent::Burned), .. }))), "{again:?}");
    claim
}

/// The user that the documents give, and a password that is changed while we run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_needs_no_more_than_the_documents_say() {
    let server = Server::start(&[]);
    let docs = include_str!("../../../../docs/ledger.md");
    let rule = docs.lines().find(|line| line.starts_with("ACL SETUSER permyx")).unwrap();
    let mut plain = server.client();
    let command = |words: &str| {
        let mut command = redis::cmd("ACL");
        words.split(' ').skip(1).for_each(|word| _ = command.arg(word));
        command
    };
    command(&rule.replace(">…", ">one")).exec(&mut plain).unwrap();
    command("ACL SETUSER default off").exec(&mut plain).unwrap();
    let file = server.dir.path().join("password");
    std::fs::write(&file, "one\n").unwrap();
    let mut options = options(server.port);
    options.access.username = Some("permyx".to_owned());
    options.access.password = Some(Password::File(file.clone()));
    let bench = Bench::open(options.clone());
    usable_within(&bench, "the first password").await;
    burns(&bench).await;
    let limits = Limits { orders_per_hour: Some(9), spend_per_hour: Some(900), spend_per_day: Some(900) };
    let claim = Claim { limits, purpose: Some(Purpose(Digest::of(&[b"p"]))), ..bench.claim() };
    let held = bench.first(&claim).await;
    assert!(bench.ledger.usage(&store(), &claim.agent, claim.issued).await.is_ok());
    bench.ledger.settle(held, Settlement::Released, None).await.unwrap();
    assert_eq!(bench.ledger.lapsed().await, Ok(Vec::new()));
    let (pushes, _told) = mpsc::channel(1);
    let config = redis::AsyncConnectionConfig::new().set_push_sender(move |push| pushes.try_send(push));
    let mut other = Door::to(options.clone(), "revoked").open(config).await.unwrap();
    other.subscribe("pxl:revoked").await.unwrap();
    redis::cmd("SET").arg("pxl:{revoked}").arg("x").exec_async(&mut other).await.unwrap();
    redis::cmd("SET").arg("other").arg("x").exec_async(&mut other).await.unwrap_err();

    command("ACL SETUSER permyx >two <one").exec(&mut plain).unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("USER").arg("permyx").exec(&mut plain).unwrap();
    let told = loop {
        match bench.ledger.health().usable {
            Err(told) if told.contains("password") => break told,
            _ => tokio::time::sleep(POLL).await,
        }
    };
    assert!(told.contains("[ledger.redis]") && !told.contains("one"), "{told}");
    std::fs::write(&file, "two").unwrap();
    usable_within(&bench, "the second password").await;
    burns(&bench).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_is_spoken_to_in_secret() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let pem = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = Server::run(|dir, port| {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (cert, key) = (write("cert.pem", &pem.0), write("key.pem", &pem.1));
        let line = format!(
            "--port 0 --tls-port {port} --tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {cert} \
             --tls-auth-clients no --appendonly yes"
        );
        line.split(' ').map(str::to_owned).collect()
    });
    let roots = crate::net::tls::roots(&server.dir.path().join("cert.pem")).unwrap();
    let mut options = options(server.port);
    options.access.tls = Some(Arc::new(crate::net::tls::client_config(Some(roots)).unwrap()));
    let bench = Bench::open(options.clone());
    usable_within(&bench, "TLS").await;
    burns(&bench).await;
    // Whom nobody vouches for is not spoken to.
    options.access.tls = Some(Arc::new(crate::net::tls::client_config(None).unwrap()));
    let bench = Bench::open(options);
    let told = loop {
        match bench.ledger.health().usable {
            Err(told) if told.contains("tls") => break told,
            _ => tokio::time::sleep(POLL).await,
        }
    };
    assert!(told.contains("[ledger.redis]"), "{told}");
}

/// The replica has every burn before it counts; the sentinel promotes it, and what was burned
/// before is not bought again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_brings_no_token_back() {
    let mut primary = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let sentinel = Server::sentinel(primary.port);
    let mut options = options(primary.port);
    options.topology = Topology::Sentinel { sentinels: vec![address(&sentinel)], primary: "shop".to_owned() };
    options.access.durability = Durability::Replicas(1);
    let bench = Bench::open(options);
    usable_within(&bench, "the primary").await;
    let burned = burns(&bench).await;
    let old = Claim { issued: bench.clock.now(), ..bench.claim() };
    // Sentinels look for replicas every ten seconds: before they know it, there is nobody to promote.
    let mut asked = sentinel.client();
    loop {
        let known: Vec<redis::Value> = redis::cmd("SENTINEL").arg("REPLICAS").arg("shop").query(&mut asked).unwrap();
        if !known.is_empty() {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    primary.kill();
    // The promoted one is alone: nobody could confirm, so nothing is burned.
    let alone = format!("127.0.0.1:{}: 0 replicas are in step", replica.port);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !bench.ledger.health().usable.is_err_and(|why| why.contains(&alone)) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", bench.ledger.health());
        tokio::time::sleep(POLL).await;
    }
    let closed = bench.ledger.reserve(old.clone()).await.unwrap_err();
    assert_eq!(closed, LedgerError::Unavailable(Trouble::Unsafe));
    let _third = Server::start(&["--replicaof", "127.0.0.1", &replica.port.to_string()]);
    usable_within(&bench, "a replica of the promoted").await;
    let (_, refused) = reserve_in_time(&bench, || old.clone()).await;
    assert!(matches!(refused, Err(LedgerError::Quarantine { .. })), "{refused:?}");
    let entry: Option<String> = redis::cmd("GET")
        .arg(Keys(&store()).token(Namespace::Enforce, burned.slot.jti))
        .query(&mut replica.client())
        .unwrap();
    assert!(entry.unwrap().starts_with("1|"));
}

/// Each store is burned where its slot is, also after slots have moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_each_store_in_its_slot() {
    let nodes: Vec<_> = (0..3).map(|_| Server::start(&["--cluster-enabled", "yes"])).collect();
    let mut create = std::process::Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(nodes.iter().map(|node| address(node).to_string()));
    assert!(create.args(["--cluster-yes"]).output().unwrap().status.success());
    let mut options = options(nodes[0].port);
    // A seed that takes connections and never answers stands in nobody's way.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = Address { host: "127.0.0.1".to_owned(), port: silent.local_addr().unwrap().port() };
    options.topology = Topology::Cluster { seeds: vec![silent_address, address(&nodes[0])] };
    options.access.durability = Durability::Async;
    let stores: Vec<_> = (0..12).map(|n| StoreId::parse(&format!("store-{n}")).unwrap()).collect();
    let (tell, _notices) = mpsc::channel(64);
    let (clock, metrics) = (Clock::system(), Arc::new(Metrics::new().unwrap()));
    let ledger = RedisLedger::open(options, stores.clone(), clock.clone(), metrics, tell);
    let bench = Bench { ledger, notices: mpsc::channel(1).1, clock };
    usable_within(&bench, "the cluster").await;
    for store in &stores {
        let slot = Slot { store: store.clone(), ..bench.claim().slot };
        let claim = Claim { slot, ..bench.claim() };
        let held = bench.first(&claim).await;
        bench.ledger.settle(held, Settlement::Burned, None).await.unwrap();
        let again = bench.ledger.reserve(Claim { trace: TraceId::random(), ..claim }).await;
        assert!(matches!(again, Ok(Reserve::Known(_))), "{again:?}");
    }
    let count = |node: &Server| redis::cmd("DBSIZE").query::<u64>(&mut node.client()).unwrap();
    assert!(nodes.iter().all(|node| count(node) > 0), "everything is on one server");
    assert!(!bench.ledger.health().exactly_once);
}
