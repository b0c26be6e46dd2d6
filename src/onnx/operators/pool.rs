//! Pooling.

use std::sync::Arc;

use super::super::reader::NodeReader;
use super::super::writer::{NodeWriter, Write, Written};
use super::Build;
use super::window::{padding, per_axis, rank, write_padding, write_per_axis};
use crate::error::{Error, Result};
use crate::geometry::{Layout, PerAxis, PoolOptions};
use crate::network::{MaxUnpool, Operator, Pool};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("AveragePool", average_pool),
    ("GlobalAveragePool", global_average_pool),
    ("GlobalLpPool", global_lp_pool),
    ("GlobalMaxPool", global_max_pool),
    ("LpPool", lp_pool),
    ("MaxPool", max_pool),
    ("MaxUnpool", max_unpool),
];

/// The windows of a pooling.
fn windows(reader: &NodeReader) -> Result<PoolOptions> {
    reader.expect_inputs(1, 1)?;
    let padding = padding(reader)?;
    let kernel = kernel(reader)?;
    // With auto_pad = VALID the output has its length whether it is rounded up or not.
    let valid = reader.string("auto_pad", "NOTSET")? == "VALID";
    let up = reader.flag("ceil_mode", false)? && !valid;
    Ok(PoolOptions::new(PerAxis::list(&kernel))
        .stride(per_axis(reader, "strides", 1)?)
        .dilation(per_axis(reader, "dilations", 1)?)
        .padding(padding)
        .ceil_mode(up))
}

fn kernel(reader: &NodeReader) -> Result<Vec<usize>> {
    reader
        .sizes("kernel_shape")?
        .ok_or_else(|| Error::Attribute {
            name: "kernel_shape".to_owned(),
            expected: "given".to_owned(),
            got: "absent".to_owned(),
        })
}

fn max_pool(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let windows = windows(reader)?;
    reader.expect_outputs(2)?;
    let column_major = reader.flag("storage_order", false)?;
    Ok(Arc::new(match reader.outputs() {
        2 => Pool::max_with_indices(windows, column_major),
        _ => Pool::max(windows),
    }))
}

fn average_pool(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_outputs(1)?;
    let include = reader.flag("count_include_pad", false)?;
    let windows = windows(reader)?.count_include_pad(include);
    Ok(Arc::new(Pool::average(windows)))
}

fn lp_pool(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_outputs(1)?;
    Ok(Arc::new(Pool::lp(windows(reader)?, exponent(reader)?)))
}

fn exponent(reader: &NodeReader) -> Result<f64> {
    Ok(reader.int("p", 2)? as f64)
}

fn global(reader: &NodeReader, pool: Pool) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(1, 1)?;
    reader.expect_outputs(1)?;
    Ok(Arc::new(pool))
}

fn global_max_pool(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    global(reader, Pool::global_max())
}

fn global_average_pool(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    global(reader, Pool::global_average())
}

fn global_lp_pool(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    global(reader, Pool::global_lp(exponent(reader)?))
}

fn max_unpool(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 3)?;
    reader.expect_outputs(1)?;
    let kernel = kernel(reader)?;
    let rank = kernel.len();
    let strides = reader.sizes("strides")?.unwrap_or_else(|| vec![1; rank]);
    let pads = match reader.sizes("pads")? {
        Some(pads) => {
            let (before, after) = pads.split_at(pads.len() / 2);
            before.iter().copied().zip(after.iter().copied()).collect()
        }
        None => vec![(0, 0); rank],
    };
    Ok(Arc::new(MaxUnpool::new(kernel, strides, pads)))
}

impl Write for Pool {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if self.layout != Layout::ChannelsFirst {
            return Err("channels last".to_owned());
        }
        if let Some(p) = self.exponent() {
            // `as` saturates, and what is no integer does not come back.
            let integer = p as i64;
            if integer as f64 != p {
                return Err(format!("the exponent {p}, which is no integer"));
            }
            node.int("p", integer);
            node.since(18);
        }
        let Some(windows) = &self.windows else {
            return Ok(());
        };
        if windows.layout != Layout::ChannelsFirst {
            return Err("channels last".to_owned());
        }
        if let Some(divisor) = windows.divisor_override {
            return Err(format!("the divisor {divisor}"));
        }
        let average = self.name() == "AveragePool";
        let rank = rank(node, windows.kernel_size.listed());
        // The kernel has no default; no window is 0 long.
        write_per_axis(node, "kernel_shape", &windows.kernel_size, 0, rank)?;
        let stride = windows.stride.unwrap_or(windows.kernel_size);
        write_per_axis(node, "strides", &stride, 1, rank)?;
        if average && windows.dilation != PerAxis::all(1) {
            node.since(19);
        }
        write_per_axis(node, "dilations", &windows.dilation, 1, rank)?;
        write_padding(node, &windows.padding, rank)?;
        node.flag("ceil_mode", windows.ceil_mode);
        node.flag("count_include_pad", average && windows.count_include_pad);
        node.flag("storage_order", self.column_major());
        Ok(())
    }
}
