//! The control socket as a file: made, taken over, removed.
//!
//! Promise: the socket is never, not for an instant, wider than its final mode; what is not a dead socket is never removed.
//! Not here: what is said over it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::names::printable;

/// Owner and group: who may connect may use all of `lsctl` (design.md 4.4).
pub const SOCKET_MODE: u32 = 0o660;
/// The socket's directory, where it has to be made: others need not even see what is there.
pub const SOCKET_DIR_MODE: u32 = 0o750;
/// The private directory beside the socket in which it is born. Short, since a socket's path has 107 bytes at most.
const BIRTHPLACE: &str = ".new";

/// Why the control socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// `already_running`: somebody answers at the socket.
    #[error("another labelsyncd answers at {}", shown(.path))]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// Something stands there that is not ours to remove.
    #[error("the control socket cannot be made: {} is {kind}", shown(.path))]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// `a regular file`, `a symbolic link` …
        kind: &'static str,
    },
    /// The system refused.
    #[error("cannot {deed} {}", shown(.path))]
    System {
        /// `bind the control socket` …
        deed: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ServerError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyRunning { .. } => "already_running",
            Self::NotASocket { .. } => "not_a_socket",
            Self::System { .. } => "socket_failed",
        }
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            Self::AlreadyRunning { .. } => "use the running one (`lsctl status`), or stop it first".to_owned(),
            Self::NotASocket { path, .. } => {
                format!("move {} away, or set `daemon.socket` to another path", shown(path))
            }
            Self::System { .. } => {
                "check that the directory exists, is writable for the daemon's user, lies on a local file system \
                 and that the path is shorter than 100 bytes"
                    .to_owned()
            }
        }
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// A listening control socket.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: UnixListener,
    made: Option<Made>,
}

/// The file that we made, so that only it is removed in the end.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    group: Option<u32>,
    identity: Identity,
}

/// Device and inode.
type Identity = (u64, u64);

impl Listener {
    /// A socket that somebody else made and keeps, such as systemd's.
    pub fn given(socket: UnixListener) -> Self {
        Self { socket, made: None }
    }

    /// The same again, where the file that we made is gone: nobody finds the socket any more. What stands there now is left
    /// alone. `None`: it is as it was.
    pub(super) fn made_again(&self) -> Option<Result<Self, ServerError>> {
        let made = self.made.as_ref()?;
        matches!(identity(&made.path), Ok(None)).then(|| make(&made.path, made.group))
    }

    /// Removes the socket's file, if it is still the one that we made.
    pub(super) fn remove_file(&mut self) {
        let Some(made) = self.made.take() else { return };
        if identity(&made.path).is_ok_and(|now| now == Some(made.identity))
            && let Err(error) = fs::remove_file(&made.path)
        {
            tracing::warn!(%error, path = %shown(&made.path), "the control socket is not removed");
        }
    }
}

/// Takes the socket that systemd passes, or else makes one at `path` with mode 0660 and, where given, that group.
///
/// A dead socket at `path` is replaced. The caller holds the lock of the state directory already.
///
/// # Errors
/// [`ServerError::AlreadyRunning`] where somebody answers, [`ServerError::NotASocket`] where something else stands
/// there, [`ServerError::System`] otherwise.
pub fn listen(path: &Path, group: Option<u32>) -> Result<Listener, ServerError> {
    let deed = "take the passed socket instead of";
    let given = listenfd::ListenFd::from_env().take_unix_listener(0);
    match given.map_err(|source| ServerError::System { deed, path: path.to_owned(), source })? {
        Some(socket) => Ok(Listener::given(socket)),
        None => make(path, group),
    }
}

fn make(path: &Path, group: Option<u32>) -> Result<Listener, ServerError> {
    let failed = |deed| move |source| ServerError::System { deed, path: path.to_owned(), source };
    let dir = parent(path);
    make_dir(dir).map_err(|source| ServerError::System {
        deed: "make the socket's directory",
        path: dir.to_owned(),
        source,
    })?;
    let dead = dead_socket(path)?;
    let birthplace = Birthplace::make(dir).map_err(failed("prepare the directory of"))?;
    let born = birthplace.socket();
    let socket = UnixListener::bind(&born).map_err(failed("bind the control socket"))?;
    // The birthplace lets nobody in, so that these two steps cannot be used by anybody.
    chown(&born, None, group).map_err(failed("give to its group the control socket"))?;
    fs::set_permissions(&born, Permissions::from_mode(SOCKET_MODE)).map_err(failed("set the mode of"))?;
    let ours = identity(&born).map_err(failed("look at"))?;
    publish(&born, path, dead)?;
    let made = ours.map(|identity| Made { path: path.to_owned(), group, identity });
    Ok(Listener { socket, made })
}

/// Moves the socket from its birthplace to its path in one step, over nothing or over exactly the dead one.
fn publish(born: &Path, path: &Path, dead: Option<Identity>) -> Result<(), ServerError> {
    let failed = |source: io::Error| ServerError::System { deed: "put in its place", path: path.to_owned(), source };
    let Some(dead) = dead else {
        return match renameat_with(CWD, born, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(ServerError::AlreadyRunning { path: path.to_owned() }),
            Err(errno) => Err(failed(errno.into())),
        };
    };
    renameat_with(CWD, born, CWD, path, RenameFlags::EXCHANGE).map_err(|errno| failed(errno.into()))?;
    if identity(born).map_err(failed)? == Some(dead) {
        return Ok(());
    }
    // Somebody else put something there after we looked: it goes back.
    renameat_with(CWD, born, CWD, path, RenameFlags::EXCHANGE).map_err(|errno| failed(errno.into()))?;
    Err(ServerError::AlreadyRunning { path: path.to_owned() })
}

/// What stands at `path`: nothing, or a socket where nobody answers.
fn dead_socket(path: &Path) -> Result<Option<Identity>, ServerError> {
    let failed = |source| ServerError::System { deed: "look at", path: path.to_owned(), source };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !meta.file_type().is_socket() {
        return Err(ServerError::NotASocket { path: path.to_owned(), kind: kind(meta.file_type()) });
    }
    match knock(path) {
        // AGAIN: somebody listens whose queue is full.
        Ok(()) | Err(Errno::AGAIN) => Err(ServerError::AlreadyRunning { path: path.to_owned() }),
        Err(Errno::CONNREFUSED) => Ok(Some((meta.dev(), meta.ino()))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => {
            Err(ServerError::System { deed: "find out who listens at", path: path.to_owned(), source: errno.into() })
        }
    }
}

/// Connects without waiting: a daemon that hangs must not make the next one hang.
fn knock(path: &Path) -> Result<(), Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &address)
}

fn kind(file_type: fs::FileType) -> &'static str {
    if file_type.is_symlink() {
        "a symbolic link"
    } else if file_type.is_file() {
        "a regular file"
    } else if file_type.is_dir() {
        "a directory"
    } else {
        "no socket"
    }
}

fn identity(path: &Path) -> io::Result<Option<Identity>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some((meta.dev(), meta.ino()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(SOCKET_DIR_MODE).create(dir)
}

/// A directory of mode 0700 that is gone when this is dropped.
struct Birthplace(PathBuf);

impl Birthplace {
    fn make(dir: &Path) -> io::Result<Self> {
        let place = Self(dir.join(BIRTHPLACE));
        let make = || DirBuilder::new().mode(0o700).create(&place.0);
        match make() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Left over by a daemon that was killed in here.
                place.clear();
                make()
            }
            Err(error) => Err(error),
        }?;
        Ok(place)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }

    /// Only a socket is removed, and only an empty directory; both may be gone already.
    fn clear(&self) {
        let socket = self.socket();
        if fs::symlink_metadata(&socket).is_ok_and(|meta| meta.file_type().is_socket()) {
            let _ = fs::remove_file(&socket);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

impl Drop for Birthplace {
    fn drop(&mut self) {
        self.clear();
    }
}
