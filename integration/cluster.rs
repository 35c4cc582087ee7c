//! A real Kubernetes API server with its etcd, for the time of a test: `scripts/deps.sh kube` builds it.

use crate::certificates::Authority;
use crate::client::{Answer, Request};
use crate::envoy::{free_port, scratch};
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rustls::version::TLS13;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The audience that the gate asks for.
pub const AUDIENCE: &str = "mcp-gateway";
/// Who may review tokens, with two tokens of his; and who may nothing.
pub const REVIEWER: [&str; 2] = ["reviewer-token-1", "reviewer-token-2"];
pub const NOBODY: &str = "token-of-nobody";
const ADMIN: &str = "token-of-the-admin";

pub struct Cluster {
    pub port: u16,
    /// What signed the API server's certificate.
    pub authority: Authority,
    pub folder: PathBuf,
    server: Option<Child>,
    etcd: Child,
}

fn installed(name: &str) -> PathBuf {
    let deps = std::env::var("MCP_IAP_DEPS").unwrap_or_else(|_| ".deps".to_owned());
    let file = Path::new(&deps).join("kube").join(name);
    assert!(file.is_file(), "{} is missing: run `scripts/deps.sh kube`", file.display());
    file
}

fn start(folder: &Path, name: &str, arguments: &[String]) -> Child {
    Command::new(installed(name))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join(format!("{name}.log"))).unwrap())
        .spawn()
        .unwrap()
}

impl Cluster {
    pub fn start() -> Self {
        let folder = scratch();
        let authority = Authority::new();
        authority.write(&folder.join("ca.crt"));
        // For the test's client, and for the gate.
        authority.sign_names(&["mcp.example.com", "localhost", "kubernetes.default.svc"]).write(&folder);
        let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        fs::write(folder.join("accounts.key"), pem.as_bytes()).unwrap();
        let users = format!(
            "{ADMIN},admin,1,system:masters\n{},reviewer,2\n{},reviewer,2\n{NOBODY},nobody,3\n",
            REVIEWER[0], REVIEWER[1]
        );
        fs::write(folder.join("users.csv"), users).unwrap();
        let (client, peer) = (free_port(), free_port());
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let etcd = [
            format!("--data-dir={}", folder.join("etcd").display()),
            format!("--listen-client-urls={}", at(client)),
            format!("--advertise-client-urls={}", at(client)),
            format!("--listen-peer-urls={}", at(peer)),
            format!("--initial-advertise-peer-urls={}", at(peer)),
            format!("--initial-cluster=default={}", at(peer)),
        ];
        let etcd = start(&folder, "etcd", &etcd);
        fs::write(folder.join("etcd.url"), at(client)).unwrap();
        let mut cluster = Self { port: free_port(), authority, folder, server: None, etcd };
        cluster.up();
        cluster.fill();
        cluster
    }

    /// Starts the API server, and waits until it answers.
    pub fn up(&mut self) {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let arguments = [
            format!("--etcd-servers={}", fs::read_to_string(self.folder.join("etcd.url")).unwrap()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", file("certificates")),
            format!("--tls-cert-file={}", file("tls.crt")),
            format!("--tls-private-key-file={}", file("tls.key")),
            format!("--service-account-key-file={}", file("accounts.key")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--api-audiences=https://kubernetes.default.svc".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", file("users.csv")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        self.server = Some(start(&self.folder, "kube-apiserver", &arguments));
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.ask(ADMIN, "GET", "/readyz", "").is_none_or(|answer| answer.status != 200) {
            let log = || fs::read_to_string(self.folder.join("kube-apiserver.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the API server is not ready:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the API server.
    pub fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// One request, as somebody.
    pub fn ask(&self, token: &str, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Option<Answer> {
        let request = Request::new(method, path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body);
        std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        request.send_tls(self.port, &self.authority.client(None, &TLS13)).ok()
    }

    /// For kubectl, as the admin.
    pub fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": {
                "server": format!("https://localhost:{}", self.port), "certificate-authority": self.folder.join("ca.crt")}}],
            "users": [{"name": "admin", "user": {"token": ADMIN}}],
            "contexts": [{"name": "admin", "context": {"cluster": "cluster", "user": "admin"}}],
            "current-context": "admin",
        })
    }

    fn create(&self, path: &str, object: &Value) -> Value {
        let answer = self.ask(ADMIN, "POST", path, object.to_string()).unwrap();
        assert_eq!(answer.status, 201, "{path}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn fill(&self) {
        self.create("/api/v1/namespaces", &json!({"metadata": {"name": "agents"}}));
        for name in ["coding-agent", "other"] {
            self.create("/api/v1/namespaces/agents/serviceaccounts", &json!({"metadata": {"name": name}}));
        }
        self.create(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            &json!({"metadata": {"name": "reviewer"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reviewer"}]}),
        );
    }

    /// A token of a service account (TokenRequest), for these audiences; of the server's own for none.
    pub fn token(&self, account: &str, audiences: &[&str]) -> String {
        let path = format!("/api/v1/namespaces/agents/serviceaccounts/{account}/token");
        let answer = self.create(&path, &json!({"spec": {"audiences": audiences, "expirationSeconds": 600}}));
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Removes a service account: its tokens count no more.
    pub fn remove(&self, account: &str) {
        let path = format!("/api/v1/namespaces/agents/serviceaccounts/{account}");
        assert_eq!(self.ask(ADMIN, "DELETE", &path, "").unwrap().status, 200);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.down();
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
        if std::thread::panicking() {
            eprintln!("the API server's log is in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
