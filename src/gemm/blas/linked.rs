//! The calls into the linked BLAS.

// The provider, where the features choose it; otherwise the final binary does.
#[cfg(feature = "openblas")]
extern crate blas_src as _;

use std::ffi::{CStr, c_char, c_int};
use std::sync::{Mutex, OnceLock, PoisonError};

use cblas_sys::{CBLAS_LAYOUT, CBLAS_TRANSPOSE, cblas_dgemm, cblas_sgemm};
use ndarray::{Array2, ArrayBase, ArrayView2, ArrayViewMut2, CowArray, Data, Ix2};

use super::super::Engine;
use crate::element::{Element, collected, filled};
use crate::error::{Error, Result, product};

/// CBLAS of the linked provider.
#[derive(Clone, Copy, Debug)]
pub struct Blas;

/// How CBLAS is told about a matrix: transposed or not, and its leading dimension.
struct Operand {
    transpose: CBLAS_TRANSPOSE,
    leading: c_int,
}

/// The description of `matrix` (rows × columns), or `None` where neither stride is one.
fn operand<T, S: Data<Elem = T>>(matrix: &ArrayBase<S, Ix2>) -> Option<Operand> {
    let (rows, columns) = matrix.dim();
    let (down, across) = (matrix.strides()[0], matrix.strides()[1]);
    // A stride along an axis of one element says nothing; CBLAS still wants leading ≥ row length.
    let leading = |stride: isize, length: usize, count: usize| {
        let stride = if count <= 1 { length as isize } else { stride };
        (stride >= length.max(1) as isize)
            .then(|| c_int::try_from(stride).ok())
            .flatten()
    };
    if (across == 1 || columns == 1)
        && let Some(leading) = leading(down, columns, rows)
    {
        return Some(Operand {
            transpose: CBLAS_TRANSPOSE::CblasNoTrans,
            leading,
        });
    }
    if (down == 1 || rows == 1)
        && let Some(leading) = leading(across, rows, columns)
    {
        return Some(Operand {
            transpose: CBLAS_TRANSPOSE::CblasTrans,
            leading,
        });
    }
    None
}

/// `matrix` itself where CBLAS can describe it, else a row-major copy.
fn describable<'a, T: Element>(
    matrix: ArrayView2<'a, T>,
) -> Result<(CowArray<'a, T, Ix2>, Operand)> {
    if let Some(description) = operand(&matrix) {
        return Ok((matrix.into(), description));
    }
    let (rows, columns) = matrix.dim();
    let elements = product("matrix", &[rows, columns])?;
    let data = collected(elements, matrix.iter().copied())?;
    let copy = Array2::from_shape_vec((rows, columns), data)
        .map_err(|_| Error::Overflow { what: "matrix" })?;
    let description = Operand {
        transpose: CBLAS_TRANSPOSE::CblasNoTrans,
        leading: columns.max(1) as c_int,
    };
    Ok((copy.into(), description))
}

/// Every length as CBLAS's integer.
fn integers(lengths: [usize; 3]) -> Result<[c_int; 3]> {
    let largest = lengths.into_iter().max().unwrap_or(0);
    if c_int::try_from(largest).is_err() {
        return Err(Error::EngineDimension {
            engine: "blas",
            got: largest,
            limit: c_int::MAX as usize,
        });
    }
    Ok(lengths.map(|length| length as c_int))
}

macro_rules! engine {
    ($type:ty, $gemm:path) => {
        impl Engine<$type> for Blas {
            fn name(&self) -> &'static str {
                "blas"
            }

            fn limit(&self) -> usize {
                c_int::MAX as usize
            }

            fn product(
                &self,
                a: ArrayView2<'_, $type>,
                b: ArrayView2<'_, $type>,
                beta: $type,
                mut c: ArrayViewMut2<'_, $type>,
            ) -> Result<()> {
                let ((m, k), n) = (a.dim(), b.ncols());
                assert_eq!((b.nrows(), c.dim()), (k, (m, n)));
                let [rows, columns, inner] = integers([m, n, k])?;
                if m == 0 || n == 0 {
                    return Ok(());
                }
                let Some(Operand {
                    transpose: CBLAS_TRANSPOSE::CblasNoTrans,
                    leading,
                }) = operand(&c)
                else {
                    // Rows of c are not contiguous: multiply aside, then add in.
                    let zeros = filled(product("matrix", &[m, n])?, 0.0)?;
                    let mut aside = Array2::from_shape_vec((m, n), zeros)
                        .map_err(|_| Error::Overflow { what: "matrix" })?;
                    self.product(a, b, 0.0, aside.view_mut())?;
                    c.zip_mut_with(&aside, |old, &new| {
                        *old = if beta == 0.0 { new } else { beta * *old + new };
                    });
                    return Ok(());
                };
                let ((a, describe_a), (b, describe_b)) = (describable(a)?, describable(b)?);
                // SAFETY: the assertion above fixes the shapes, and `integers` found that they fit
                // `c_int`. `operand` gives each leading dimension as at least the row length and as
                // the true stride between rows (and `describable` copies what has none), so every
                // address that CBLAS computes lies in one of the three views.
                unsafe {
                    $gemm(
                        CBLAS_LAYOUT::CblasRowMajor,
                        describe_a.transpose,
                        describe_b.transpose,
                        rows,
                        columns,
                        inner,
                        1.0,
                        a.as_ptr(),
                        describe_a.leading,
                        b.as_ptr(),
                        describe_b.leading,
                        beta,
                        c.as_mut_ptr(),
                        leading,
                    );
                }
                Ok(())
            }
        }
    };
}
engine!(f32, cblas_sgemm);
engine!(f64, cblas_dgemm);

/// OpenBLAS's own controls, where the linked provider is OpenBLAS.
struct Controls {
    set_threads: unsafe extern "C" fn(c_int),
    get_threads: unsafe extern "C" fn() -> c_int,
    core_name: unsafe extern "C" fn() -> *const c_char,
}

fn controls() -> Option<&'static Controls> {
    static CONTROLS: OnceLock<Option<Controls>> = OnceLock::new();
    CONTROLS.get_or_init(look_up).as_ref()
}

#[cfg(unix)]
fn look_up() -> Option<Controls> {
    let symbol = |name: &CStr| {
        // SAFETY: `name` is a C string; `dlsym` only looks it up among the loaded libraries.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    };
    let (set, get, core) = (
        symbol(c"openblas_set_num_threads")?,
        symbol(c"openblas_get_num_threads")?,
        symbol(c"openblas_get_corename")?,
    );
    // SAFETY: these are OpenBLAS's functions by name, with the signatures that its cblas.h declares;
    // a function pointer has the size of a data pointer on every unix.
    unsafe {
        Some(Controls {
            set_threads: std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn(c_int)>(set),
            get_threads: std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn() -> c_int>(
                get,
            ),
            core_name: std::mem::transmute::<
                *mut libc::c_void,
                unsafe extern "C" fn() -> *const c_char,
            >(core),
        })
    }
}

#[cfg(not(unix))]
fn look_up() -> Option<Controls> {
    None
}

/// How many hold BLAS to one thread now, and the setting to put back.
static HOLDERS: Mutex<(usize, c_int)> = Mutex::new((0, 1));

/// OpenBLAS's thread count is one for the whole process: the first holder saves it and sets one.
pub(super) fn hold() {
    let Some(controls) = controls() else { return };
    let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    if holders.0 == 0 {
        // SAFETY: OpenBLAS's own functions; both may be called at any time, and the lock keeps our calls apart.
        unsafe {
            holders.1 = (controls.get_threads)();
            if holders.1 != 1 {
                (controls.set_threads)(1);
            }
        }
    }
    holders.0 += 1;
}

/// The last holder puts the earlier setting back.
pub(super) fn release() {
    let Some(controls) = controls() else { return };
    let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    holders.0 -= 1;
    if holders.0 == 0 && holders.1 != 1 {
        // SAFETY: as in `hold`.
        unsafe { (controls.set_threads)(holders.1) };
    }
}

/// The core that OpenBLAS chose its kernels for, such as `SkylakeX`.
fn core_name() -> Option<String> {
    let controls = controls()?;
    // SAFETY: OpenBLAS returns a pointer to a static, terminated string.
    let name = unsafe { CStr::from_ptr((controls.core_name)()) };
    Some(name.to_string_lossy().into_owned())
}

/// The warning for a core name that does not use this CPU, with the variable that mends it.
pub(super) fn warning() -> Option<String> {
    let core = core_name()?;
    let wanted = better_core(&core)?;
    Some(format!(
        "OpenBLAS does not know this CPU and runs its kernels for {core}, several times slower than the CPU can: \
         set OPENBLAS_CORETYPE={wanted} before starting the program"
    ))
}

/// OpenBLAS's names for cores without AVX2, in lower case, as its dynamic.c lists them.
#[cfg(target_arch = "x86_64")]
const OLD_CORES: &[&str] = &[
    "unknown",
    "generic",
    "katmai",
    "coppermine",
    "northwood",
    "prescott",
    "banias",
    "core2",
    "penryn",
    "dunnington",
    "nehalem",
    "sandybridge",
    "atom",
    "nano",
    "athlon",
    "opteron",
    "opteron_sse3",
    "barcelona",
    "bobcat",
    "bulldozer",
    "piledriver",
    "steamroller",
];

#[cfg(target_arch = "x86_64")]
fn better_core(core: &str) -> Option<&'static str> {
    if !OLD_CORES.contains(&core.to_ascii_lowercase().as_str()) {
        return None;
    }
    if std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512dq")
    {
        Some("SkylakeX")
    } else if std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
    {
        Some("Haswell")
    } else {
        None
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn better_core(_core: &str) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all of it: the thread count belongs to the whole process.
    #[test]
    fn one_thread_while_held_and_the_earlier_setting_after() {
        // Another provider has no such controls; OpenBLAS must.
        let Some(controls) = controls() else {
            if cfg!(feature = "openblas") {
                panic!("linked with OpenBLAS, but its controls are not found");
            }
            return;
        };
        let _alone = crate::gemm::tests::BLAS_THREADS
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // SAFETY: OpenBLAS's own functions.
        let count = || unsafe { (controls.get_threads)() };
        unsafe { (controls.set_threads)(2) };
        let before = count();
        let outer = super::super::OneThread::new(true);
        assert_eq!(count(), 1);
        drop(super::super::OneThread::new(true));
        assert_eq!(count(), 1, "an inner holder must not end the outer one");
        drop(outer);
        assert_eq!(count(), before);
        drop(super::super::OneThread::new(false));
        assert_eq!(count(), before);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_sse_core_on_a_newer_cpu_is_warned_about() {
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            assert!(better_core("Prescott").is_some());
        }
        assert_eq!(better_core("SkylakeX"), None);
        assert_eq!(better_core("Zen"), None);
    }
}
