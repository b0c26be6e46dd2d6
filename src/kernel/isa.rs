//! Instruction sets as values: a token is the proof that the CPU has the feature.
//!
//! ```text
//! Avx512   x86-64 with AVX-512F            16 f32 or 8 f64 a vector, 32 registers
//! Avx2Fma  x86-64 with AVX2 and FMA         8 f32 or 4 f64 a vector, 16 registers
//! portable everything else                  what the compiler makes of plain loops
//! ```
//!
//! The fields are private to this file and the only constructors ask the CPU. Where an entry of a kernel looks at
//! the set it names every variant: a new one does not compile until each entry knows it. On another architecture than
//! x86-64 the constructors make no token, and the arms of such sets are those of plain Rust.

use std::fmt;
use std::sync::OnceLock;

/// The CPU has AVX-512F.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Avx512(());

impl Avx512 {
    /// The token, where the CPU (and the operating system) has AVX-512F.
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        let has = std::arch::is_x86_feature_detected!("avx512f");
        #[cfg(not(target_arch = "x86_64"))]
        let has = false;
        has.then_some(Self(()))
    }
}

/// The CPU has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Avx2Fma(());

impl Avx2Fma {
    /// The token, where the CPU (and the operating system) has AVX2 and FMA.
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        let has = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma");
        #[cfg(not(target_arch = "x86_64"))]
        let has = false;
        has.then_some(Self(()))
    }
}

/// One of the instruction sets that a kernel can be written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// AVX-512F.
    Avx512(Avx512),
    /// AVX2 with FMA.
    Avx2Fma(Avx2Fma),
    /// Plain Rust; always there.
    Portable,
}

impl Isa {
    /// The widest that this CPU has.
    pub fn detect() -> Self {
        match (Avx512::new(), Avx2Fma::new()) {
            (Some(token), _) => Self::Avx512(token),
            (None, Some(token)) => Self::Avx2Fma(token),
            (None, None) => Self::Portable,
        }
    }

    /// The widest that this CPU has and the variable `GEMMCONV_ISA` (`avx512`, `avx2`, `portable`) allows.
    ///
    /// The variable is read once. A name that it does not know, or a set that the CPU lacks, changes nothing.
    pub fn selected() -> Self {
        static SELECTED: OnceLock<Isa> = OnceLock::new();
        *SELECTED.get_or_init(|| {
            let wanted = std::env::var("GEMMCONV_ISA").unwrap_or_default();
            let found = Self::available()
                .into_iter()
                .find(|isa| isa.name() == wanted);
            found.unwrap_or_else(Self::detect)
        })
    }

    /// The name, as the variable `GEMMCONV_ISA` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Avx512(_) => "avx512",
            Self::Avx2Fma(_) => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Numbers of type f32 in a vector.
    pub(crate) fn lanes(&self) -> usize {
        match self {
            Self::Avx512(_) => 16,
            Self::Avx2Fma(_) => 8,
            Self::Portable => 4,
        }
    }

    /// Vectors that can be held at once.
    pub(crate) fn registers(&self) -> usize {
        match self {
            Self::Avx512(_) => 32,
            Self::Avx2Fma(_) | Self::Portable => 16,
        }
    }

    /// Whether the units that do its multiply-adds have 256 bits: those of AVX2, and of AVX-512 where a vector takes two
    /// turns.
    pub(crate) fn is_narrow(&self) -> bool {
        match self {
            Self::Avx512(_) => two_turns(),
            Self::Avx2Fma(_) => true,
            Self::Portable => false,
        }
    }

    /// Every one that this CPU has, widest first.
    pub fn available() -> Vec<Self> {
        let avx512 = Avx512::new().map(Self::Avx512);
        let avx2 = Avx2Fma::new().map(Self::Avx2Fma);
        avx512
            .into_iter()
            .chain(avx2)
            .chain([Self::Portable])
            .collect()
    }
}

/// Whether this is a CPU by AMD that says of itself (CPUID Fn8000_001A, EAX bit 3, FP512) that its units have less than
/// 512 bits. No other maker tells.
#[cfg(target_arch = "x86_64")]
fn two_turns() -> bool {
    static TWO_TURNS: OnceLock<bool> = OnceLock::new();
    // SAFETY: every x86-64 CPU has the instruction. Newer compilers know that.
    #[allow(unused_unsafe)]
    let ask = |leaf| unsafe { std::arch::x86_64::__cpuid(leaf) };
    *TWO_TURNS.get_or_init(|| {
        let maker = ask(0);
        let name = [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes);
        let units = 0x8000_001a;
        name.as_flattened() == b"AuthenticAMD"
            && ask(0x8000_0000).eax >= units
            && ask(units).eax & 1 << 3 == 0
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn two_turns() -> bool {
    false
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512(_) => "AVX-512F",
            Self::Avx2Fma(_) => "AVX2+FMA",
            Self::Portable => "portable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detected_one_is_the_first_of_the_available_ones() {
        let available = Isa::available();
        assert_eq!(available[0], Isa::detect());
        assert_eq!(*available.last().unwrap(), Isa::Portable);
    }
}
