//! The devices of this build.

use burn::tensor::Device;
use mmlens::core::DeviceName;

/// Opens a device by the name of its kind, `remote` being one served by this process.
pub(crate) fn open(kind: &str) -> Device {
    #[cfg(feature = "remote-server")]
    if kind == "remote" {
        return served(0);
    }
    let name: DeviceName = kind.parse().unwrap();
    name.open(None).unwrap_or_else(|error| panic!("{error}"))
}

/// One of every kind.
pub(crate) fn all() -> Vec<Device> {
    mmlens::core::device::built().into_iter().map(open).collect()
}

#[cfg(all(test, feature = "remote-server"))]
pub(crate) use server::TOKEN;
#[cfg(feature = "remote-server")]
pub(crate) use server::served;

#[cfg(feature = "remote-server")]
mod server {
    use std::net::TcpListener;
    use std::sync::OnceLock;

    use super::{Device, DeviceName};

    pub(crate) const TOKEN: &str = "of these tests alone";

    /// The device of one of two servers on loopback, each with a CPU of its own to serve. Both are up until the process ends.
    pub(crate) fn served(which: usize) -> Device {
        static PORTS: [OnceLock<u16>; 2] = [OnceLock::new(), OnceLock::new()];
        let port = *PORTS[which].get_or_init(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            std::thread::spawn(move || {
                mmlens::core::device::serve([mmlens::core::device::host()], listener, TOKEN).unwrap();
            });
            port
        });
        let name: DeviceName = format!("remote:ws://127.0.0.1:{port}").parse().unwrap();
        name.open(Some(TOKEN)).unwrap_or_else(|error| panic!("{error}"))
    }
}

#[cfg(feature = "wgpu")]
#[test]
fn an_adapter_that_is_not_there_is_an_error() {
    let error = "wgpu:99".parse::<DeviceName>().unwrap().open(None).unwrap_err().to_string();
    assert!(error.starts_with("`wgpu:99` cannot be used: this machine has "), "{error}");
    let first = "wgpu:0".parse::<DeviceName>().unwrap().open(None).unwrap();
    assert_eq!(mmlens::core::device::kind(&first), "wgpu");
}

#[cfg(feature = "remote-server")]
#[test]
fn strangers_are_turned_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("remote:ws://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        mmlens::core::device::serve([mmlens::core::device::host()], listener, TOKEN).unwrap();
    });
    let name: DeviceName = name.parse().unwrap();
    for token in [None, Some(""), Some("another")] {
        let error = name.open(token).unwrap_err().to_string();
        assert!(error.contains("cannot be used") && error.contains("rejected the credential"), "{error}");
    }
    assert!(name.open(Some(TOKEN)).is_ok());
    let more: DeviceName = format!("{name}#7").parse().unwrap();
    let error = more.open(Some(TOKEN)).unwrap_err().to_string();
    assert!(error.contains("hosts only 1 device"), "{error}");
}

#[cfg(feature = "remote-server")]
#[test]
fn a_server_without_a_token_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = mmlens::core::device::serve([mmlens::core::device::host()], listener, "").unwrap_err();
    assert!(error.to_string().starts_with("devices cannot be served: "), "{error}");
}
