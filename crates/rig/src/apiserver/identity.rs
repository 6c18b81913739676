//! Who may speak to the API server: one authority, the server's certificate, those of its users, and their kubeconfigs.
//!
//! All by openssl(1), with keys that live as long as their folder.

use std::path::{Path, PathBuf};
use std::process::Command;

const AUTHORITY: &str = "/CN=rig";

/// Everything that a server and its administrator need.
pub(super) fn make(folder: &Path, url: &str) {
    key(folder, "ca");
    let extensions = [
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,keyCertSign,digitalSignature",
    ];
    let own = ["req", "-x509", "-new", "-key", "ca.key", "-subj", AUTHORITY, "-days", "30", "-out", "ca.crt"];
    openssl(folder, &[&own[..], &extensions].concat());
    certificate(
        folder,
        "server",
        "/CN=kube-apiserver",
        "serverAuth\nsubjectAltName=IP:127.0.0.1,DNS:localhost",
    );
    key(folder, "accounts");
    openssl(folder, &["ec", "-in", "accounts.key", "-pubout", "-out", "accounts.pub"]);
    user(folder, url, "admin", &["system:masters"]);
}

/// A certificate for `name` in `groups`, and the kubeconfig that shows it.
pub(super) fn user(folder: &Path, url: &str, name: &str, groups: &[&str]) -> PathBuf {
    let file = name.replace(|sign: char| !sign.is_ascii_alphanumeric(), "-");
    let groups: String = groups.iter().map(|group| format!("/O={group}")).collect();
    certificate(folder, &file, &format!("{groups}/CN={name}"), "clientAuth");
    let shown = |ending: &str| folder.join(&file).with_extension(ending).display().to_string();
    let user = format!("client-certificate: {:?}, client-key: {:?}", shown("crt"), shown("key"));
    kubeconfig(folder, url, &file, &user)
}

/// The kubeconfig of whoever has the token in `token`.
pub(super) fn token_user(folder: &Path, url: &str, token: &Path) -> PathBuf {
    let name = token.file_name().unwrap_or_default().to_string_lossy().into_owned();
    kubeconfig(folder, url, &format!("{name}-file"), &format!("tokenFile: {:?}", token.display().to_string()))
}

fn kubeconfig(folder: &Path, url: &str, name: &str, user: &str) -> PathBuf {
    let authority = folder.join("ca.crt").display().to_string();
    let text = format!(
        "apiVersion: v1\nkind: Config\n\
         clusters: [{{name: rig, cluster: {{server: {url:?}, certificate-authority: {authority:?}}}}}]\n\
         users: [{{name: user, user: {{{user}}}}}]\n\
         contexts: [{{name: rig, context: {{cluster: rig, user: user}}}}]\ncurrent-context: rig\n"
    );
    let path = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, text).expect("a kubeconfig can be written");
    path
}

fn certificate(folder: &Path, name: &str, subject: &str, usage: &str) {
    key(folder, name);
    let file = |ending: &str| format!("{name}.{ending}");
    let (key, request, extensions, out) = (file("key"), file("csr"), file("ext"), file("crt"));
    std::fs::write(folder.join(&extensions), format!("extendedKeyUsage={usage}\n"))
        .expect("it can be written");
    openssl(folder, &["req", "-new", "-key", &key, "-subj", subject, "-out", &request]);
    let sign = ["x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "30"];
    // Without a file of serials it draws one: two users may be made at once.
    openssl(folder, &[&sign[..], &["-out", &out, "-extfile", &extensions]].concat());
}

fn key(folder: &Path, name: &str) {
    let out = format!("{name}.key");
    openssl(folder, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &out]);
}

fn openssl(folder: &Path, args: &[&str]) {
    let output = Command::new("openssl").args(args).current_dir(folder).output().expect("openssl(1) runs");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
