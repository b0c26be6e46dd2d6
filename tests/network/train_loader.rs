//! Batches as a trainer takes them: what is in them, in which order, and how they end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use gemmconv::data::augment::{Augment, Example};
use gemmconv::data::dataset::{Dataset, InMemory};
use gemmconv::data::normalise::Normalise;
use gemmconv::train::loader::{Batch, Loader, LoaderOptions};
use gemmconv::{Error, Result};
use ndarray::Array4;

const SHAPE: [usize; 3] = [2, 4, 5];

/// Images of noise.
fn noise(count: usize) -> Arc<InMemory> {
    let mut random = fastrand::Rng::with_seed(9);
    let [channels, height, width] = SHAPE;
    let images = Array4::from_shape_simple_fn((count, channels, height, width), || random.f32());
    let labels = (0..count).map(|index| index * 7 % 3).collect();
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    Arc::new(InMemory::from_f32(images, labels, names).unwrap())
}

fn normalise() -> Normalise {
    Normalise::new(vec![0.5, 0.25], vec![0.3, 2.0]).unwrap()
}

fn batches(loader: &Loader, epoch: u64, step: usize) -> Vec<Batch> {
    loader
        .epoch(epoch, step)
        .unwrap()
        .map(|batch| batch.unwrap())
        .collect()
}

/// A data set whose image `bad` fails or panics, that counts how many were asked for and takes its time.
struct Odd {
    data: Arc<InMemory>,
    bad: Option<usize>,
    panics: bool,
    read: AtomicUsize,
}

impl Odd {
    fn new(count: usize) -> Self {
        Self {
            data: noise(count),
            bad: None,
            panics: false,
            read: AtomicUsize::new(0),
        }
    }
}

impl Dataset for Odd {
    fn shape(&self) -> [usize; 3] {
        self.data.shape()
    }

    fn classes(&self) -> &[String] {
        self.data.classes()
    }

    fn labels(&self) -> &[usize] {
        self.data.labels()
    }

    fn image(&self, index: usize, out: &mut [f32]) -> Result<()> {
        self.read.fetch_add(1, SeqCst);
        if self.bad == Some(index) {
            assert!(!self.panics, "image {index} is a trap");
            return Err(Error::Data {
                what: format!("image {index} is broken"),
            });
        }
        self.data.image(index, out)
    }
}

#[test]
fn batches_are_what_they_say() {
    let data = noise(23);
    let augment: Augment = "shift:2,flip".parse().unwrap();
    for threads in [1, 2, 5] {
        for ahead in [1, 4] {
            let options = LoaderOptions::training(4, 77)
                .augment(augment.clone())
                .normalise(normalise())
                .threads(threads)
                .ahead(ahead);
            let loader = Loader::new(data.clone(), options).unwrap();
            assert_eq!(loader.steps(), 5);
            for epoch in [0, 3] {
                let order = loader.order(epoch).unwrap();
                let all = batches(&loader, epoch, 0);
                assert_eq!(all.len(), 5);
                for (batch, examples) in all.iter().zip(order.chunks_exact(4)) {
                    assert_eq!(batch.images.shape(), [4, 2, 4, 5]);
                    for (place, &index) in examples.iter().enumerate() {
                        let mut image = vec![0.0; 40];
                        data.image(index, &mut image).unwrap();
                        let example = Example {
                            seed: 77,
                            epoch,
                            index,
                        };
                        augment.run(&mut image, SHAPE, example).unwrap();
                        normalise().run(&mut image, 20).unwrap();
                        let got = batch.images.index_axis(ndarray::Axis(0), place);
                        assert_eq!(got.as_slice().unwrap(), image);
                        assert_eq!(batch.labels[place], data.labels()[index] as i64);
                    }
                }
            }
        }
    }
}

#[test]
fn an_epoch_goes_on_at_any_step() {
    let options = LoaderOptions::training(3, 5).augment("crop:1,flip".parse().unwrap());
    let loader = Loader::new(noise(20), options.threads(2)).unwrap();
    let all = batches(&loader, 6, 0);
    assert_eq!(all.len(), 6);
    for step in 0..=6 {
        assert_eq!(batches(&loader, 6, step), all[step..]);
    }
    let mut epoch = loader.epoch(6, 4).unwrap();
    assert_eq!(epoch.step(), 4);
    epoch.next().unwrap().unwrap();
    assert_eq!(epoch.step(), 5);
    let error = loader.epoch(6, 7).unwrap_err().to_string();
    assert!(
        error.contains("step 7") && error.contains("of 6"),
        "{error}"
    );
}

#[test]
fn each_epoch_has_an_order_of_its_own() {
    let loader = |seed| Loader::new(noise(50), LoaderOptions::training(8, seed)).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..5 {
        for epoch in 0..5 {
            let order = loader(seed).order(epoch).unwrap();
            assert_eq!(order, loader(seed).order(epoch).unwrap());
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..50));
            seen.insert(order);
        }
    }
    assert_eq!(seen.len(), 25);
}

#[test]
fn evaluation_has_each_example_once() {
    let data = noise(10);
    for (batch, sizes) in [
        (4, vec![4, 4, 2]),
        (5, vec![5, 5]),
        (64, vec![10]),
        (1, vec![1; 10]),
    ] {
        let options = LoaderOptions::evaluation(batch).threads(2);
        let loader = Loader::new(data.clone(), options).unwrap();
        let all = batches(&loader, 0, 0);
        assert_eq!(loader.steps(), sizes.len());
        assert_eq!(all.iter().map(Batch::len).collect::<Vec<_>>(), sizes);
        let labels: Vec<i64> = all.iter().flat_map(|batch| batch.labels.clone()).collect();
        assert!(
            labels
                .into_iter()
                .eq(data.labels().iter().map(|&label| label as i64))
        );
        let mut images = all.iter().flat_map(|batch| batch.images.iter().copied());
        for index in 0..10 {
            let mut image = vec![0.0; 40];
            data.image(index, &mut image).unwrap();
            assert!(images.by_ref().take(40).eq(image));
        }
        assert_eq!(images.next(), None);
    }
}

#[test]
fn an_error_comes_at_its_step_and_ends_the_epoch() {
    for panics in [false, true] {
        for threads in [1, 3] {
            let data = Odd {
                bad: Some(13),
                panics,
                ..Odd::new(40)
            };
            let options = LoaderOptions::evaluation(5).threads(threads).ahead(4);
            let loader = Loader::new(Arc::new(data), options).unwrap();
            let mut epoch = loader.epoch(0, 0).unwrap();
            for _ in 0..2 {
                epoch.next().unwrap().unwrap();
            }
            let error = epoch.next().unwrap().unwrap_err().to_string();
            assert!(error.contains("image 13 is"), "{error}");
            assert!(epoch.next().is_none());
            assert!(epoch.next().is_none());
        }
    }
}

/// Waits until `done`, or fails.
#[track_caller]
fn until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(
            begin.elapsed() < Duration::from_secs(300),
            "nothing happens"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn no_more_is_made_than_may_be_ahead() {
    let data = Arc::new(Odd::new(1000));
    let options = LoaderOptions::training(10, 1).threads(2).ahead(3);
    let loader = Loader::new(data.clone(), options).unwrap();
    let mut epoch = loader.epoch(0, 0).unwrap();
    for taken in 1..5 {
        until(|| data.read.load(SeqCst) >= 10 * (taken + 2));
        thread::sleep(Duration::from_millis(20));
        assert_eq!(data.read.load(SeqCst), 10 * (taken + 2));
        epoch.next().unwrap().unwrap();
    }
}

#[test]
fn memory_is_used_again() {
    let options = LoaderOptions::evaluation(8).threads(2).ahead(2);
    let loader = Loader::new(noise(8 * 50 + 3), options).unwrap();
    let mut epoch = loader.epoch(0, 0).unwrap();
    let mut places = BTreeSet::new();
    let mut all = Vec::new();
    while let Some(batch) = epoch.next() {
        let batch = batch.unwrap();
        places.insert(batch.images.as_ptr());
        all.push(batch.clone());
        epoch.give_back(batch);
    }
    // Two ahead, and the consumer's.
    assert!(places.len() <= 3, "{} buffers", places.len());
    // The last one is smaller; nothing of the old ones is left in it.
    assert_eq!(all, batches(&loader, 0, 0));
}

#[test]
fn threads_end_when_the_epoch_is_dropped() {
    let data = Arc::new(Odd::new(10_000));
    for taken in [0, 1, 7] {
        let options = LoaderOptions::training(100, 1).threads(3).ahead(2);
        let loader = Loader::new(data.clone(), options).unwrap();
        let mut epoch = loader.epoch(0, 0).unwrap();
        for _ in 0..taken {
            epoch.next().unwrap().unwrap();
        }
        drop(epoch);
        // A worker would hold the data set.
        assert_eq!(Arc::strong_count(&data), 2, "the loader's and ours");
        let read = data.read.load(SeqCst);
        thread::sleep(Duration::from_millis(5));
        assert_eq!(data.read.load(SeqCst), read);
    }
}

#[test]
fn options_that_lead_nowhere() {
    let refused = |options: LoaderOptions| {
        let loader = Loader::new(noise(10), options);
        loader.unwrap_err().to_string()
    };
    let training = |batch| LoaderOptions::training(batch, 0);
    assert!(refused(training(0)).contains("examples of a batch is zero"));
    assert!(refused(training(5).threads(0)).contains("threads"));
    assert!(refused(training(5).ahead(0)).contains("ahead"));
    let error = refused(training(11));
    assert!(
        error.contains("batch of 11") && error.contains("10 examples"),
        "{error}"
    );
    let error = refused(training(5).augment("shift:4".parse().unwrap()));
    assert!(error.contains("shift is 4"), "{error}");
    let one = Normalise::new(vec![0.0], vec![1.0]).unwrap();
    let error = refused(training(5).normalise(one));
    assert!(error.contains("holds 1 elements, expected 2"), "{error}");
    let huge = LoaderOptions::evaluation(usize::MAX);
    assert_eq!(Loader::new(noise(10), huge).unwrap().steps(), 1);
    let empty = Loader::new(noise(0), LoaderOptions::evaluation(1));
    assert!(matches!(empty, Err(Error::ZeroCount { what: "examples" })));
}
