//! Owner, group, mode and ACL of a file: what Label Studio, another user, needs to go on using it.
//!
//! Promise: a replaced file keeps all four or is refused before anything changes (promise 89);
//! a new file can be read and written by whoever owns the file it is made like.
//! Not here: contents, names.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Gid, Mode, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::{FileError, FileErrorKind};

const ACL: &str = "system.posix_acl_access";

/// The largest ACL that the kernel hands out (XATTR_SIZE_MAX).
const ACL_MAX_BYTES: usize = 65_536;

/// The mode of a new file when there is none to take it from; the umask and the directory's default ACL apply.
pub(super) const NEW_FILE_MODE: u32 = 0o664;

/// Whose a file is and who may use it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The 12 permission bits.
    pub mode: u32,
    /// The POSIX access ACL as the kernel stores it; `None`: the mode says all.
    pub acl: Option<Vec<u8>>,
}

impl Attributes {
    /// The attributes of an open file.
    pub(super) fn of(file: &File, path: &Path) -> Result<Self, FileError> {
        let fail = |e: Errno| FileError::system("read the attributes of", path, e);
        let stat = rustix::fs::fstat(file).map_err(fail)?;
        Ok(Self { acl: read_acl(file).map_err(fail)?, ..Self::of_stat(&stat) })
    }

    /// Without the ACL.
    pub(super) fn of_stat(stat: &Stat) -> Self {
        Self { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777, acl: None }
    }

    /// Gives `file`, not yet visible at `path`, exactly these attributes.
    ///
    /// The owner comes last: CAP_CHOWN alone is enough then.
    pub(super) fn apply(&self, file: &File, path: &Path) -> Result<(), FileError> {
        self.apply_permissions(file, path, self.mode)?;
        if change_owner(file, Some(self.uid), Some(self.gid)).is_err() {
            return Err(self.refusal(path));
        }
        if Self::of(file, path)?.mode != self.mode {
            // Changing the owner clears the set-user and set-group bits.
            rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode)).map_err(|_| self.refusal(path))?;
        }
        if Self::of(file, path)? != *self {
            return Err(self.refusal(path));
        }
        Ok(())
    }

    /// Gives a new file these attributes, or, where the daemon may not give files away, the same group with
    /// reading and writing for it. Refused when the owner of the file it is made like could not write it then.
    pub(super) fn apply_to_new(&self, file: &File, path: &Path) -> Result<(), FileError> {
        self.apply_permissions(file, path, self.mode)?;
        if change_owner(file, Some(self.uid), Some(self.gid)).is_ok() {
            return Ok(());
        }
        // Without its success the group's members are not Label Studio's, and the check below refuses.
        let _refused = change_owner(file, None, Some(self.gid));
        let now = Self::of(file, path)?;
        if now.uid == self.uid || self.mode & 0o006 == 0o006 {
            return Ok(());
        }
        if now.gid != self.gid {
            return Err(self.refusal(path));
        }
        self.apply_permissions(file, path, self.mode | 0o660)
    }

    fn apply_permissions(&self, file: &File, path: &Path, mode: u32) -> Result<(), FileError> {
        let set = match &self.acl {
            Some(acl) => rustix::fs::fsetxattr(file, ACL, acl, XattrFlags::empty()),
            None => remove_acl(file),
        };
        set.and_then(|()| rustix::fs::fchmod(file, Mode::from_raw_mode(mode))).map_err(|_| self.refusal(path))
    }

    /// The refusal, with who owns the file, who we are and what helps.
    pub(super) fn refusal(&self, path: &Path) -> FileError {
        let we = rustix::process::geteuid().as_raw();
        let Self { uid, gid, mode, .. } = self;
        let detail = format!("it must belong to uid {uid}, gid {gid}, mode {mode:04o}; the daemon is uid {we}");
        let remedy = format!(
            "run the daemon as root, as uid {uid}, or with AmbientCapabilities=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER; \
             nothing was changed, and Label Studio can go on writing the file"
        );
        FileError::new(FileErrorKind::CannotKeepOwner, "replace", path, detail).with_remedy(remedy)
    }
}

/// Gives a new file or directory the owner and group of the directory it is made in, where the daemon may.
pub(super) fn like_directory(file: &File, directory: &Stat) {
    // A daemon that may not give files away leaves what the system chose (its own user, the directory's group).
    let _allowed = change_owner(file, Some(directory.st_uid), Some(directory.st_gid));
}

fn change_owner(file: &File, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    let now = rustix::fs::fstat(file)?;
    let uid = uid.filter(|&uid| uid != now.st_uid).map(Uid::from_raw);
    let gid = gid.filter(|&gid| gid != now.st_gid).map(Gid::from_raw);
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    rustix::fs::fchown(file, uid, gid)
}

fn read_acl(file: &File) -> Result<Option<Vec<u8>>, Errno> {
    let mut acl = Vec::with_capacity(256);
    loop {
        match rustix::fs::fgetxattr(file, ACL, rustix::buffer::spare_capacity(&mut acl)) {
            Ok(_) => return Ok(Some(acl)),
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(Errno::RANGE) if acl.capacity() < ACL_MAX_BYTES => acl = Vec::with_capacity(ACL_MAX_BYTES),
            Err(errno) => return Err(errno),
        }
    }
}

fn remove_acl(file: &File) -> Result<(), Errno> {
    match rustix::fs::fremovexattr(file, ACL) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno),
    }
}
