//! The gradient of small weights over many images, as a sum of the gradients over some images each.
//!
//! ```text
//! dw, db            ← the gradients over the first share of the batch       in parallel:
//! slots[s]          ← those over share s + 1                                each reads its own images alone
//! dw, db            += slots[0] + slots[1] + …                              in order
//! ```
//!
//! Cut by channels instead, every thread would read all images, and a small gradient has few channels to cut.
//! How many shares there are depends on the geometry alone, so the result has the same bits for any number of threads.

use ndarray::{ArrayViewMut2, Axis};

use crate::error::{Error, Result};
use crate::parallel::{join, try_for_each_tile};

/// Images, the gradients of their results, and the gradients of weights and bias.
pub(in crate::conv) struct WeightGradient<'a> {
    pub(in crate::conv) x: &'a [f32],
    pub(in crate::conv) dy: &'a [f32],
    pub(in crate::conv) dw: &'a mut [f32],
    pub(in crate::conv) db: Option<&'a mut [f32]>,
}

impl WeightGradient<'_> {
    /// Sums `batch` images in `shares` shares with `sum`; `slots` has room for all shares but one.
    pub(in crate::conv) fn in_shares(
        self,
        [batch, shares]: [usize; 2],
        outputs: usize,
        slots: &mut [f32],
        sum: &(impl Fn(WeightGradient<'_>) -> Result<()> + Sync),
    ) -> Result<()> {
        let Self { x, dy, dw, mut db } = self;
        let (image, result) = (x.len() / batch, dy.len() / batch);
        let biased = db.is_some();
        let part = |share: usize, dw: &mut [f32], db: &mut [f32]| {
            let images = share * batch / shares..(share + 1) * batch / shares;
            sum(WeightGradient {
                x: &x[images.start * image..images.end * image],
                dy: &dy[images.start * result..images.end * result],
                dw,
                db: biased.then_some(db),
            })
        };
        let len = dw.len() + outputs;
        let got = slots.len();
        let slots = ArrayViewMut2::from_shape((shares - 1, len), slots);
        let mut slots = slots.map_err(|_| Error::BufferLength {
            what: "scratch",
            expected: (shares - 1) * len,
            got,
        })?;
        let weights = dw.len();
        let mut none = [];
        let first_db = db.as_deref_mut().unwrap_or(&mut none);
        let (first, others) = join(
            || part(0, dw, first_db),
            || {
                try_for_each_tile(slots.view_mut(), [1, len], true, &|[slot, _], tile| {
                    let tile = tile.into_slice().ok_or(Error::BufferLength {
                        what: "scratch",
                        expected: len,
                        got: 0,
                    })?;
                    let (dw, db) = tile.split_at_mut(weights);
                    part(slot + 1, dw, db)
                })
            },
        );
        first.and(others)?;
        for slot in slots.axis_iter(Axis(0)) {
            let gradients = dw
                .iter_mut()
                .chain(db.iter_mut().flat_map(|db| db.iter_mut()));
            for (sum, &more) in gradients.zip(&slot) {
                *sum += more;
            }
        }
        Ok(())
    }
}
