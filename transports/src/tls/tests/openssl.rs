//! The program `openssl` as client, as server, and as a maker of files.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use pinecone_testing::{Need, skip};
use tokio::net::{TcpListener, TcpStream};

use super::certificates::{Authority, Files, trusting};
use super::*;
use Application::{Http, Pinecone};

/// Reports whether the program is missing, and then skips the test.
fn openssl_is_missing() -> bool {
    let found = Command::new("openssl").arg("version").output();
    match found {
        Ok(output) if output.status.success() => false,
        _ => {
            skip(Need::OpenSsl, "the program openssl does not run");
            true
        }
    }
}

/// Runs `openssl` with the arguments, which contain no spaces, in the directory of `files`.
fn openssl(files: &Files, arguments: &str) -> Output {
    Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(files.path("."))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn openssl_ok(files: &Files, arguments: &str) -> String {
    let output = openssl(files, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lets `s_client` connect with these arguments, and returns its output and the server's outcome.
async fn s_client(
    server: &Tls,
    application: Application,
    arguments: &str,
) -> (String, Result<TlsStream<TcpStream>, TlsError>) {
    s_client_with(server, application, arguments, None).await
}

/// Runs `openssl s_client` like [`s_client`], with a configuration file.
async fn s_client_with(
    server: &Tls,
    application: Application,
    arguments: &str,
    config: Option<&Path>,
) -> (String, Result<TlsStream<TcpStream>, TlsError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let arguments = format!("s_client -connect {address} {arguments}");
    let mut command = Command::new("openssl");
    command
        .args(arguments.split_whitespace())
        .stdin(Stdio::null());
    if let Some(config) = config {
        command.env("OPENSSL_CONF", config);
    }
    let client = tokio::task::spawn_blocking(move || {
        let output = command.output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    });
    let both = async {
        let (socket, _) = listener.accept().await.unwrap();
        let stream = server.accept(application, socket).await;
        (client.await.unwrap(), stream)
    };
    tokio::time::timeout(DEADLINE, both).await.unwrap()
}

#[tokio::test]
async fn s_client_sees_the_node_key_and_the_same_channel_binding() {
    if openssl_is_missing() {
        return;
    }
    let server = node(1, TlsOptions::default());
    let export = "-keymatexport EXPORTER-Channel-Binding -keymatexportlen 32";
    let (output, stream) = s_client(&server, Pinecone, &format!("-alpn pinecone {export}")).await;
    let stream = stream.unwrap();
    let subject = format!("CN = {}", key(1).public_key());
    let binding = hex::encode_upper(stream.channel_binding());
    for expected in [
        &subject,
        "ALPN protocol: pinecone",
        "TLSv1.3",
        "Peer signature type: ed25519",
        &format!("Keying material: {binding}"),
    ] {
        let found = output.to_lowercase().contains(&expected.to_lowercase());
        assert!(found, "no {expected:?} in {output}");
    }
    assert!(!output.contains("New Session Ticket"), "{output}");
}

#[tokio::test]
async fn s_client_with_another_protocol_or_version_is_refused() {
    if openssl_is_missing() {
        return;
    }
    let server = node(1, TlsOptions::default());
    let (output, stream) = s_client(&server, Pinecone, "-alpn h2,http/1.1").await;
    assert!(matches!(stream, Err(TlsError::Protocol(Pinecone))));
    assert!(output.contains("no application protocol"), "{output}");
    let (output, stream) = s_client(&server, Pinecone, "-tls1_2").await;
    assert!(stream.is_err());
    assert!(output.contains("alert protocol version"), "{output}");
}

#[tokio::test]
async fn s_client_verifies_the_certificate_of_the_files() {
    if openssl_is_missing() {
        return;
    }
    let authority = Authority::new("authority");
    let files = Files::with(&authority.issue(&["node.test"]));
    let server = node(1, files.options());
    let ca = files.put("authority.pem", &authority.pem());
    let verify = format!(
        "-CAfile {} -verify_return_error -verify_hostname node.test",
        ca.display()
    );
    for (application, arguments) in [(Http, "-alpn http/1.1"), (Http, "-tls1_2"), (Pinecone, "")] {
        let arguments = format!("{verify} {arguments}");
        let (output, stream) = s_client(&server, application, &arguments).await;
        assert!(stream.is_ok(), "{output}");
        assert!(output.contains("Verification: OK"), "{output}");
        assert!(!output.contains("New Session Ticket"), "{output}");
    }
}

#[test]
fn openssl_verifies_the_certificate_of_a_node_key() {
    if openssl_is_missing() {
        return;
    }
    let files = Files::new();
    std::fs::write(files.path("node.der"), node_key::certificate(&key(1))).unwrap();
    openssl_ok(&files, "x509 -inform DER -in node.der -out node.pem");
    openssl_ok(
        &files,
        "verify -check_ss_sig -x509_strict -partial_chain -CAfile node.pem node.pem",
    );
    let text = openssl_ok(&files, "x509 -in node.pem -noout -text");
    assert!(
        text.contains("Not After : Dec 31 23:59:59 9999 GMT"),
        "{text}"
    );
}

/// A running `openssl s_server`, which echoes reversed lines.
struct SServer {
    child: Child,
    address: SocketAddr,
}

impl SServer {
    fn start(files: &Files, arguments: &str) -> Self {
        let mut child = Command::new("openssl")
            .args("s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -rev".split(' '))
            .args(arguments.split_whitespace())
            .current_dir(files.path("."))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(
                output.read_line(&mut line).unwrap(),
                0,
                "s_server has ended"
            );
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.trim().parse().unwrap();
            }
        };
        // Its output must be read, or it stops.
        std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
        Self { child, address }
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn s_server_is_accepted_by_name() {
    if openssl_is_missing() {
        return;
    }
    let files = Files::new();
    openssl_ok(
        &files,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -subj /CN=authority",
    );
    openssl_ok(
        &files,
        "req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=node.test \
         -addext subjectAltName=DNS:node.test",
    );
    openssl_ok(
        &files,
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -out cert.pem -copy_extensions copyall",
    );
    let client = node_without_roots(2, trusting(&files.path("ca.pem")));
    for (application, arguments) in [
        (Http, "-tls1_2"),
        (Http, "-alpn http/1.1"),
        (Pinecone, "-alpn pinecone"),
        (Pinecone, ""),
    ] {
        let s_server = SServer::start(&files, arguments);
        let exchange = async {
            let socket = TcpStream::connect(s_server.address).await.unwrap();
            let target = target(application, "node.test");
            let mut stream = client.connect(&target, socket).await.unwrap();
            assert_eq!(stream.peer(), &TlsPeer::Name(target.name));
            stream.write_all(b"hello\n").await.unwrap();
            let mut reversed = [0; 6];
            stream.read_exact(&mut reversed).await.unwrap();
            assert_eq!(&reversed, b"olleh\n");
        };
        tokio::time::timeout(DEADLINE, exchange).await.unwrap();
    }
    // The files that openssl makes serve as well.
    assert!(Tls::new(&key(1), files.options()).is_ok());
}

#[tokio::test]
async fn the_self_signed_certificate_of_the_manual_is_accepted() {
    if openssl_is_missing() {
        return;
    }
    // As in `docs/operations.md`.
    let files = Files::new();
    openssl_ok(
        &files,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=node.example \
         -addext subjectAltName=DNS:node.example -addext basicConstraints=critical,CA:FALSE \
         -keyout key.pem -out cert.pem",
    );
    let server = node(1, files.options());
    let client = node_without_roots(2, trusting(&files.path("cert.pem")));
    let (near, _) = handshake(&client, &target(Http, "node.example"), &server, Http).await;
    assert!(near.is_ok());
}

#[tokio::test]
async fn tls_1_2_without_a_sound_channel_binding_is_refused() {
    if openssl_is_missing() {
        return;
    }
    let server = node(1, TlsOptions::default());
    let (output, stream) = s_client(&server, Http, "-tls1_2").await;
    assert!(stream.is_ok(), "{output}");
    let files = Files::new();
    let config = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = -ExtendedMasterSecret\n";
    let config = files.put("openssl.cnf", config);
    let (output, stream) = s_client_with(&server, Http, "-tls1_2", Some(&config)).await;
    assert!(stream.is_err(), "{output}");
    assert!(output.contains("alert handshake failure"), "{output}");
}

#[test]
fn keys_that_openssl_makes_are_accepted_or_refused_with_a_reason() {
    if openssl_is_missing() {
        return;
    }
    let files = Files::new();
    let certify = |key: &str| {
        openssl_ok(
            &files,
            &format!("req -x509 -key {key} -out cert.pem -subj /CN=node.test"),
        );
        let mut options = files.options();
        options.key = Some(files.path(key));
        Tls::new(&super::key(1), options).map(|_| ())
    };
    let generate = |arguments: &str, out: &str| {
        openssl_ok(&files, &format!("genpkey {arguments} -out {out}"));
    };
    generate("-algorithm ED25519", "ed25519.pem");
    assert!(certify("ed25519.pem").is_ok());
    generate("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "p256.pem");
    assert!(certify("p256.pem").is_ok());
    openssl_ok(&files, "ec -in p256.pem -out sec1.pem");
    assert!(certify("sec1.pem").is_ok());
    generate("-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "p521.pem");
    assert!(matches!(
        certify("p521.pem"),
        Err(TlsConfigError::UnsupportedKey { .. })
    ));
    generate("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "rsa.pem");
    assert!(certify("rsa.pem").is_ok());
    openssl_ok(&files, "rsa -in rsa.pem -traditional -out pkcs1.pem");
    assert!(certify("pkcs1.pem").is_ok());
    // Encrypted, in both formats.
    for arguments in [
        "pkey -in rsa.pem -aes256 -passout pass:secret -out encrypted.pem",
        "rsa -in rsa.pem -traditional -aes256 -passout pass:secret -out encrypted.pem",
    ] {
        openssl_ok(&files, arguments);
        let mut options = files.options();
        options.key = Some(files.path("encrypted.pem"));
        let error = Tls::new(&super::key(1), options).unwrap_err();
        assert!(
            matches!(error, TlsConfigError::EncryptedKey { .. }),
            "{error}"
        );
    }
}
