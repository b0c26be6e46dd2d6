//! Data sets as a person has them in a directory: real ones, and ones written here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::common::data;
use flate2::Compression;
use flate2::write::GzEncoder;
use gemmconv::data::cifar::Cifar;
use gemmconv::data::dataset::{Dataset, InMemory, Split, labels};
use gemmconv::data::folder::{Folder, FolderOptions};
use gemmconv::data::listing::Listing;
use gemmconv::data::normalise::Normalise;
use gemmconv::data::npy;
use gemmconv::data::open::{DataOptions, open, open_with};
use gemmconv::data::prepare::Preset;
use gemmconv::network::Tensor;
use gemmconv::{Error, Layout};
use image::{GrayImage, Luma, Rgb, RgbImage};
use ndarray::{Array1, Array4, ArrayD};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn image(data: &dyn Dataset, index: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; data.shape().iter().product()];
    data.image(index, &mut out).unwrap();
    out
}

/// How many examples each class has.
fn counts(data: &dyn Dataset) -> Vec<usize> {
    let mut counts = vec![0; data.classes().len()];
    data.labels().iter().for_each(|&label| counts[label] += 1);
    counts
}

#[track_caller]
fn refused(dir: &Path, split: Split, options: &DataOptions, words: &[&str]) -> Error {
    let Err(error) = open_with(dir, split, options) else {
        panic!("{} is taken, expected an error of {words:?}", dir.display());
    };
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    error
}

#[test]
fn mnist_and_fashion_mnist() {
    let digits = [
        vec![5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        vec![980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ];
    let clothes = [vec![6000; 10], vec![1000; 10]];
    for (name, expected, first, (mean, std)) in [
        (
            "mnist",
            digits,
            [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
            (0.1307, 0.3081),
        ),
        (
            "fashion-mnist",
            clothes,
            [9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
            (0.2860, 0.3530),
        ),
    ] {
        let Some(dir) = data(name) else { return };
        for (split, expected) in [Split::Train, Split::Test].into_iter().zip(expected) {
            let data = open(&dir, split).unwrap();
            assert_eq!(data.len(), expected.iter().sum::<usize>());
            assert_eq!(data.shape(), [1, 28, 28]);
            assert_eq!(counts(&*data), expected, "{name}");
            assert_eq!(data.classes()[9], "9");
            if split == Split::Train {
                assert_eq!(data.labels()[..10], first);
                let found = Normalise::of(&*data).unwrap();
                assert!((found.mean()[0] - mean).abs() < 5e-5, "{found:?}");
                assert!((found.std()[0] - std).abs() < 5e-5, "{found:?}");
            }
        }
    }
}

/// 100 test images of CIFAR-10 as a list of (label, [H, W, C]).
fn sample() -> Option<Vec<(usize, Vec<u8>)>> {
    let text = fs::read_to_string(data("cifar10-sample")?.join("cifar10_test.csv")).unwrap();
    let line = |line: &str| {
        let mut values = line
            .split(',')
            .map(|value| value.trim().parse::<u8>().unwrap());
        (values.next().unwrap().into(), values.collect::<Vec<u8>>())
    };
    Some(text.lines().map(line).collect())
}

#[test]
fn cifar_images_are_the_same_from_two_formats() {
    let Some(sample) = sample() else { return };
    assert_eq!(sample.len(), 100);
    let [binary, arrays] = [folder(), folder()];
    let mut records = Vec::new();
    for (label, pixels) in &sample {
        records.push(*label as u8);
        for channel in 0..3 {
            records.extend(pixels.iter().skip(channel).step_by(3));
        }
    }
    fs::write(binary.path().join("test_batch.bin"), &records).unwrap();
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";
    fs::write(binary.path().join("batches.meta.txt"), format!("{names}\n")).unwrap();
    fs::write(arrays.path().join("classes.txt"), names).unwrap();
    let pixels = sample
        .iter()
        .flat_map(|(_, pixels)| pixels.clone())
        .collect();
    let images = Array4::from_shape_vec((100, 32, 32, 3), pixels).unwrap();
    let classes: Array1<i64> = sample.iter().map(|&(label, _)| label as i64).collect();
    write_npy(arrays.path(), "test_images.npy", images.into_dyn());
    write_npy(arrays.path(), "test_labels.npy", classes.into_dyn());
    let one = open(binary.path(), Split::Test).unwrap();
    let options = DataOptions::new().npy_layout(Layout::ChannelsLast);
    let other = open_with(arrays.path(), Split::Test, &options).unwrap();
    assert_eq!(one.shape(), [3, 32, 32]);
    assert_eq!(one.shape(), other.shape());
    assert_eq!(one.labels(), other.labels());
    assert_eq!(one.classes(), other.classes());
    assert_eq!(one.classes()[3], "cat");
    for (index, (_, pixels)) in sample.iter().enumerate() {
        let values = image(&*one, index);
        assert_eq!(values, image(&*other, index));
        assert_eq!(values[1024 + 33], f32::from(pixels[3 * 33 + 1]) / 255.0);
    }
    let found = refused(
        binary.path(),
        Split::Train,
        &DataOptions::new(),
        &["data_batch_1.bin"],
    );
    assert!(matches!(found, Error::At { .. }));
}

/// Records of CIFAR whose pixels are all the number of the record.
fn records(labels: &[&[u8]], first: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (labels, value) in labels.iter().zip(first..) {
        bytes.extend_from_slice(labels);
        bytes.extend([value; 3072]);
    }
    bytes
}

#[test]
fn cifar_files_that_are_right_and_wrong() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let options = DataOptions::new();
    fs::write(path("data_batch_1.bin"), records(&[&[3], &[9]], 0)).unwrap();
    fs::write(path("data_batch_2.bin"), records(&[&[0]], 2)).unwrap();
    let data = open(dir.path(), Split::Train).unwrap();
    assert_eq!((data.labels(), data.classes().len()), (&[3, 9, 0][..], 10));
    assert_eq!(image(&*data, 2), vec![2.0 / 255.0; 3072]);
    let small = DataOptions::new().memory_limit(3 * 3072 - 1);
    refused(
        dir.path(),
        Split::Train,
        &small,
        &["3 images", "9216", "9215"],
    );

    let mut short = records(&[&[0]], 2);
    short.pop();
    fs::write(path("data_batch_2.bin"), short).unwrap();
    let words = [
        "data_batch_2.bin",
        "3072 bytes are 0 records of 3073",
        "3072 bytes more",
    ];
    refused(dir.path(), Split::Train, &options, &words);
    fs::write(path("data_batch_2.bin"), records(&[&[0], &[10]], 2)).unwrap();
    let words = [
        "data_batch_2.bin",
        "example 1 has the label 10, expected 0 to 9",
    ];
    refused(dir.path(), Split::Train, &options, &words);
    fs::rename(path("data_batch_2.bin"), path("data_batch_4.bin")).unwrap();
    refused(dir.path(), Split::Train, &options, &["[1, 4]", "1 to 2"]);
    fs::remove_file(path("data_batch_4.bin")).unwrap();
    fs::write(path("batches.meta.txt"), "a\nb\n").unwrap();
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["meta", "2 elements, expected 10"],
    );
    fs::remove_file(path("batches.meta.txt")).unwrap();
    fs::write(path("data_batch_1.bin"), "").unwrap();
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["number of examples to train with is zero"],
    );

    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("train.bin"), records(&[&[19, 99], &[0, 0]], 7)).unwrap();
    fs::write(path("test.bin"), records(&[&[1, 50]], 7)).unwrap();
    let names: Vec<String> = (0..100).map(|class| format!("class {class}\n")).collect();
    fs::write(path("fine_label_names.txt"), names.concat()).unwrap();
    let data = open(dir.path(), Split::Train).unwrap();
    assert_eq!(data.labels(), [99, 0]);
    assert_eq!(data.classes()[99], "class 99");
    assert_eq!(open(dir.path(), Split::Test).unwrap().labels(), [50]);
    fs::write(path("test.bin"), records(&[&[20, 50]], 7)).unwrap();
    refused(
        dir.path(),
        Split::Test,
        &options,
        &["label 20, expected 0 to 19"],
    );
    assert_eq!(
        Cifar::Hundred.files(dir.path(), Split::Test).unwrap().len(),
        1
    );
}

fn idx(shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|&size| (size as u32).to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_under_their_names() {
    let images = idx(&[3, 2, 2], &(0..12).collect::<Vec<u8>>());
    let classes = idx(&[3], &[1, 0, 1]);
    for (image_name, label_name) in [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
    ] {
        let dir = folder();
        let path = |name: &str| dir.path().join(name);
        let bytes = match image_name.ends_with(".gz") {
            true => packed(&images),
            false => images.clone(),
        };
        fs::write(path(image_name), bytes).unwrap();
        let words = ["train-labels-idx1-ubyte, train-labels.idx1-ubyte"];
        refused(dir.path(), Split::Train, &DataOptions::new(), &words);
        fs::write(path(label_name), &classes).unwrap();
        let data = open(dir.path(), Split::Train).unwrap();
        assert_eq!((data.shape(), data.len()), ([1, 2, 2], 3));
        assert_eq!(
            image(&*data, 1),
            [4.0, 5.0, 6.0, 7.0].map(|value| value / 255.0)
        );
        assert!(data.image(3, &mut [0.0; 4]).is_err());
        assert!(data.image(0, &mut [0.0; 3]).is_err());
        refused(
            dir.path(),
            Split::Test,
            &DataOptions::new(),
            &["t10k-labels-idx1-ubyte.gz"],
        );
    }
}

#[test]
fn idx_files_that_contradict_each_other() {
    let dir = folder();
    let write = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).unwrap();
    let options = DataOptions::new();
    let train = |images: Vec<u8>, classes: Vec<u8>| {
        write("train-images-idx3-ubyte", images);
        write("train-labels-idx1-ubyte", classes);
    };
    train(idx(&[2, 1, 1], &[7, 8]), idx(&[3], &[0, 1, 2]));
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["train-labels", "holds 3", "expected 2"],
    );
    train(idx(&[3, 1, 1], &[7, 8, 9]), idx(&[3], &[0, 1, 200]));
    // One label that is wrong makes no 201 classes.
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["class \"2\" has no example among 3"],
    );
    let ten = DataOptions::new().classes(10);
    refused(
        dir.path(),
        Split::Train,
        &ten,
        &["example 2", "label 200", "0 to 9"],
    );
    train(idx(&[3, 1, 1], &[7, 8, 9]), idx(&[3], &[0, 1, 5]));
    assert_eq!(
        open_with(dir.path(), Split::Train, &ten)
            .unwrap()
            .classes()
            .len(),
        10
    );
    train(idx(&[0, 28, 28], &[]), idx(&[0], &[]));
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["number of examples to train with is zero"],
    );
    train(idx(&[2, 0, 28], &[]), idx(&[2], &[0, 1]));
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["size of images is zero on axis 0"],
    );
    train(idx(&[2, 2], &[0; 4]), idx(&[2], &[0, 1]));
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["train-images", "2 axes, expected 3"],
    );
    train(idx(&[2, 1, 1], &[7, 8]), idx(&[2], &[0, 1]));
    let small = DataOptions::new().memory_limit(17);
    refused(
        dir.path(),
        Split::Train,
        &small,
        &["18 bytes are needed", "17"],
    );
    // The classes are those to train with.
    write("t10k-images-idx3-ubyte", idx(&[1, 1, 1], &[0]));
    write("t10k-labels-idx1-ubyte", idx(&[1], &[2]));
    refused(
        dir.path(),
        Split::Test,
        &options,
        &["t10k-labels", "label 2, expected 0 to 1"],
    );
    write("t10k-labels-idx1-ubyte", idx(&[1], &[0]));
    assert_eq!(open(dir.path(), Split::Test).unwrap().classes().len(), 2);
    fs::write(dir.path().join("classes.txt"), "cat\ndog\ncow\n").unwrap();
    assert_eq!(
        open(dir.path(), Split::Test).unwrap().classes(),
        ["cat", "dog", "cow"]
    );
    let none = DataOptions::new().classes(2);
    refused(
        dir.path(),
        Split::Test,
        &none,
        &["classes.txt", "holds 3 elements, expected 2"],
    );
}

fn write_npy<T>(dir: &Path, name: &str, array: ArrayD<T>)
where
    Tensor: From<ArrayD<T>>,
{
    fs::write(dir.join(name), npy::write(&array.into()).unwrap()).unwrap();
}

#[test]
fn npy_of_every_kind() {
    let dir = folder();
    let values = |(n, c, y, x): (usize, usize, usize, usize)| (n * 24 + c * 12 + y * 4 + x) as f32;
    let first = Array4::from_shape_fn((2, 2, 3, 4), values);
    let last = first.clone().permuted_axes([0, 2, 3, 1]);
    let bytes = first.mapv(|value| value as u8);
    let channels_last = DataOptions::new().npy_layout(Layout::ChannelsLast);
    for (images, options, scale) in [
        (
            Tensor::from(first.clone().into_dyn()),
            DataOptions::new(),
            1.0,
        ),
        (
            Tensor::from(last.as_standard_layout().into_owned().into_dyn()),
            channels_last,
            1.0,
        ),
        (Tensor::from(bytes.into_dyn()), DataOptions::new(), 255.0),
    ] {
        fs::write(
            dir.path().join("train_images.npy"),
            npy::write(&images).unwrap(),
        )
        .unwrap();
        write_npy(
            dir.path(),
            "train_labels.npy",
            ndarray::arr1(&[1u8, 0]).into_dyn(),
        );
        let data = open_with(dir.path(), Split::Train, &options).unwrap();
        assert_eq!(data.shape(), [2, 3, 4]);
        for index in 0..2 {
            let expected = first.index_axis(ndarray::Axis(0), index);
            let expected: Vec<f32> = expected.iter().map(|value| value / scale).collect();
            assert_eq!(image(&*data, index), expected);
        }
    }
    let grey = Array4::from_elem((2, 1, 3, 4), 0.5f32).remove_axis(ndarray::Axis(1));
    write_npy(dir.path(), "train_images.npy", grey.into_dyn());
    for labels in [
        Tensor::from(ndarray::arr1(&[0i8, 1]).into_dyn()),
        Tensor::from(ndarray::arr1(&[0u64, 1]).into_dyn()),
        Tensor::from(ndarray::arr2(&[[0i32], [1]]).into_dyn()),
    ] {
        fs::write(
            dir.path().join("train_labels.npy"),
            npy::write(&labels).unwrap(),
        )
        .unwrap();
        let data = open(dir.path(), Split::Train).unwrap();
        assert_eq!((data.shape(), data.labels()), ([1, 3, 4], &[0, 1][..]));
    }
}

#[test]
fn npy_that_contradicts_itself() {
    let dir = folder();
    let options = DataOptions::new();
    let images = |array: ArrayD<f32>| write_npy(dir.path(), "train_images.npy", array);
    let classes = |list: &[i64]| {
        let array = Array1::from(list.to_vec());
        write_npy(dir.path(), "train_labels.npy", array.into_dyn());
    };
    images(ArrayD::zeros(vec![2, 3, 3]));
    classes(&[0, -1]);
    let error = refused(
        dir.path(),
        Split::Train,
        &options,
        &["example 1", "label -1", "0 to 0"],
    );
    assert!(matches!(
        error,
        Error::At { source, .. } if matches!(*source, Error::Label { label: -1, .. })
    ));
    classes(&[0, i64::MAX]);
    refused(dir.path(), Split::Train, &options, &["no example among 2"]);
    classes(&[0, 1, 1]);
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["holds 3", "expected 2"],
    );
    classes(&[0, 1]);
    images(ArrayD::zeros(vec![2, 32, 32, 3]));
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["channels last it would fit"],
    );
    images(ArrayD::zeros(vec![2, 9]));
    refused(dir.path(), Split::Train, &options, &["2 axes, expected 4"]);
    let mut broken = ArrayD::zeros(vec![2, 1, 3, 3]);
    broken[[1, 0, 0, 2]] = f32::NAN;
    images(broken);
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["image 1", "NaN", "element 2"],
    );
    let small = DataOptions::new().memory_limit(100);
    refused(
        dir.path(),
        Split::Train,
        &small,
        &["train_labels.npy", "is 100"],
    );
    write_npy(
        dir.path(),
        "train_images.npy",
        ArrayD::<f64>::zeros(vec![2, 3, 3]),
    );
    refused(dir.path(), Split::Train, &options, &["f64", "u8 or f32"]);
    images(ArrayD::zeros(vec![2, 3, 3]));
    write_npy(
        dir.path(),
        "train_labels.npy",
        ArrayD::<f32>::zeros(vec![2]),
    );
    refused(dir.path(), Split::Train, &options, &["f32", "integers"]);
    fs::remove_file(dir.path().join("train_labels.npy")).unwrap();
    refused(dir.path(), Split::Train, &options, &["train_labels.npy"]);
    assert_eq!(
        labels(&Tensor::from(ndarray::arr1(&[3u8]).into_dyn()), Some(3)),
        Err(Error::Label {
            example: 0,
            label: 3,
            classes: 3
        })
    );
}

#[test]
fn arrays_in_memory() {
    let names = || vec!["a".to_owned(), "b".to_owned()];
    let images = Array4::from_shape_fn((2, 2, 1, 3), |(n, c, _, x)| (6 * n + 3 * c + x) as u8);
    // Any order in memory, and a part of a larger array.
    let turned = images
        .view()
        .reversed_axes()
        .as_standard_layout()
        .into_owned()
        .reversed_axes();
    let mut part = ndarray::concatenate![ndarray::Axis(0), images, images];
    part.slice_collapse(ndarray::s![2.., .., .., ..]);
    for images in [images, turned, part] {
        let data = InMemory::new(images, vec![0, 1], names()).unwrap();
        assert_eq!(
            image(&data, 1),
            [6., 7., 8., 9., 10., 11.].map(|value| value / 255.0)
        );
    }
    let zeros = |count| Array4::zeros((count, 1, 2, 2));
    assert!(matches!(
        InMemory::new(zeros(2), vec![0], names()),
        Err(Error::BufferLength {
            expected: 2,
            got: 1,
            ..
        })
    ));
    assert!(matches!(
        InMemory::new(zeros(2), vec![0, 2], names()),
        Err(Error::Label {
            example: 1,
            label: 2,
            classes: 2
        })
    ));
    assert!(InMemory::new(Array4::zeros((1, 0, 2, 2)), vec![0], names()).is_err());
    assert!(InMemory::new(zeros(0), vec![], names()).unwrap().is_empty());
}

/// A picture of one colour under `path`.
fn picture(path: PathBuf, colour: [u8; 3], width: u32, height: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(width, height, Rgb(colour))
        .save(path)
        .unwrap();
}

/// Red, green and blue ones, with what is no picture between them.
fn colours(dir: &Path) {
    picture(dir.join("red/2.png"), [200, 0, 0], 4, 3);
    picture(dir.join("red/1.bmp"), [100, 0, 0], 4, 3);
    picture(dir.join("green/deep/er/x.PNG"), [0, 150, 0], 4, 3);
    picture(dir.join("blue/y.png"), [0, 0, 250], 4, 3);
    fs::write(dir.join("red/notes.txt"), "no picture").unwrap();
    fs::write(dir.join("red/.hidden.png"), "no picture").unwrap();
    fs::write(dir.join("readme.txt"), "no class").unwrap();
    fs::create_dir(dir.join(".cache")).unwrap();
}

#[test]
fn folders_of_pictures() {
    let dir = folder();
    colours(dir.path());
    let data = Folder::open(dir.path(), &FolderOptions::new()).unwrap();
    assert_eq!(data.classes(), ["blue", "green", "red"]);
    assert_eq!(data.labels(), [0, 1, 2, 2]);
    let names = data
        .files()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["y.png", "x.PNG", "1.bmp", "2.png"]
    );
    assert_eq!(data.shape(), [3, 3, 4]);
    assert!(data.is_kept());
    let red = image(&data, 3);
    assert_eq!(red[..12], [200.0 * (1.0 / 255.0); 12]);
    assert_eq!(red[12..], [0.0; 24]);
    let grey = FolderOptions::new().channels(1).size(2, 2);
    let grey = Folder::open(dir.path(), &grey).unwrap();
    assert_eq!(grey.shape(), [1, 2, 2]);
    // 0.299 · 200
    assert_eq!(image(&grey, 3), [60.0 * (1.0 / 255.0); 4]);
    let torch = FolderOptions::new()
        .preset(Preset::ImagenetTorchvision)
        .size(8, 8);
    let torch = Folder::open(dir.path(), &torch).unwrap();
    let values = image(&torch, 0);
    assert!((values[0] + 0.485 / 0.229).abs() < 1e-6);
    assert!((values[191] - (250.0 / 255.0 - 0.406) / 0.225).abs() < 1e-6);
}

#[test]
fn pictures_that_do_not_fit_are_read_when_asked_for() {
    let dir = folder();
    let mut random = fastrand::Rng::with_seed(4);
    for class in ["a", "b"] {
        for number in 0..3 {
            let path = dir.path().join(class).join(format!("{number}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let size = (random.u32(5..30), random.u32(5..30));
            let noise = RgbImage::from_fn(size.0, size.1, |_, _| {
                Rgb(std::array::from_fn(|_| random.u8(..)))
            });
            noise.save(path).unwrap();
        }
    }
    for preset in Preset::ALL {
        let options = FolderOptions::new().preset(preset).size(7, 9);
        let kept = Folder::open(dir.path(), &options).unwrap();
        let len: usize = kept.shape().iter().product();
        let limit = (6 * len - 1) as u64;
        let read = Folder::open(dir.path(), &options.memory_limit(limit)).unwrap();
        assert_eq!((kept.is_kept(), read.is_kept()), (true, false));
        for index in 0..6 {
            assert_eq!(image(&kept, index), image(&read, index), "{preset} {index}");
        }
    }
    // One that breaks later costs that one.
    let read = FolderOptions::new().size(7, 9).memory_limit(0);
    let read = Folder::open(dir.path(), &read).unwrap();
    fs::write(&read.files()[4], "no picture").unwrap();
    let mut out = vec![0.0; 3 * 7 * 9];
    let error = read.image(4, &mut out).unwrap_err().to_string();
    assert!(
        error.contains("b/1.png") && error.contains("no picture"),
        "{error}"
    );
    read.image(5, &mut out).unwrap();
}

#[test]
fn folders_that_are_refused_name_the_file() {
    let dir = folder();
    colours(dir.path());
    let all = DataOptions::new();
    fs::create_dir(dir.path().join("cyan")).unwrap();
    let error = refused(
        dir.path(),
        Split::Train,
        &all,
        &["\"cyan\" has no example among 4"],
    );
    assert!(matches!(
        error,
        Error::At { source, .. } if matches!(*source, Error::EmptyClass { examples: 4, .. })
    ));
    picture(dir.path().join("cyan/c.png"), [0, 9, 9], 5, 3);
    refused(
        dir.path(),
        Split::Train,
        &all,
        &["5 x 3 pixels", "c.png", "4 x 3", "size"],
    );
    let sized = DataOptions::new().folder(FolderOptions::new().size(3, 4));
    open_with(dir.path(), Split::Train, &sized).unwrap();
    let whole = fs::read(dir.path().join("cyan/c.png")).unwrap();
    fs::write(dir.path().join("cyan/c.png"), &whole[..whole.len() / 2]).unwrap();
    refused(dir.path(), Split::Train, &sized, &["cyan/c.png"]);
    fs::write(dir.path().join("cyan/c.png"), "text").unwrap();
    refused(
        dir.path(),
        Split::Train,
        &all,
        &["cyan/c.png", "no picture"],
    );
    refused(
        dir.path(),
        Split::Train,
        &sized,
        &["cyan/c.png", "no picture"],
    );
    let tiny = FolderOptions::new().picture_limit(20);
    fs::remove_dir_all(dir.path().join("cyan")).unwrap();
    refused(
        dir.path(),
        Split::Train,
        &DataOptions::new().folder(tiny),
        &["blue/y.png", "budget is 20"],
    );
    for channels in [0, 2, 4] {
        let odd = DataOptions::new().folder(FolderOptions::new().channels(channels));
        refused(
            dir.path(),
            Split::Train,
            &odd,
            &["number of channels", "1 or 3"],
        );
    }
    let zero = DataOptions::new().folder(FolderOptions::new().size(0, 4));
    refused(dir.path(), Split::Train, &zero, &["size is zero"]);
}

#[test]
fn folders_with_and_without_parts() {
    let dir = folder();
    colours(&dir.path().join("train"));
    let options = DataOptions::new();
    refused(dir.path(), Split::Test, &options, &["test/", "val/"]);
    colours(&dir.path().join("val"));
    assert_eq!(open(dir.path(), Split::Train).unwrap().len(), 4);
    assert_eq!(open(dir.path(), Split::Test).unwrap().len(), 4);
    picture(dir.path().join("val/yellow/a.png"), [255, 255, 0], 4, 3);
    refused(
        dir.path(),
        Split::Test,
        &options,
        &["class \"yellow\"", "val", "is not in"],
    );
    fs::remove_dir_all(dir.path().join("val/yellow")).unwrap();
    fs::remove_dir_all(dir.path().join("val/red")).unwrap();
    refused(
        dir.path(),
        Split::Test,
        &options,
        &["class \"red\"", "is not in", "val"],
    );

    // A class may be called train.
    let dir = folder();
    for (class, count) in [("plane", 10), ("train", 5), ("tram", 1)] {
        for number in 0..count {
            let name = format!("{class}/{number}.png");
            picture(dir.path().join(name), [number, 0, 0], 2, 2);
        }
    }
    let all = Listing::of(dir.path()).unwrap();
    assert_eq!((all.classes.len(), all.files.len()), (3, 16));
    let train = open(dir.path(), Split::Train).unwrap();
    let test = open(dir.path(), Split::Test).unwrap();
    assert_eq!(
        (counts(&*train), counts(&*test)),
        (vec![8, 4, 1], vec![2, 1, 0])
    );
    assert_eq!(train.classes(), test.classes());
    let parts = |share, seed| {
        let [train, test] =
            [Split::Train, Split::Test].map(|split| all.part(split, share, seed).unwrap().files);
        let mut both = [train, test.clone()].concat();
        both.sort();
        assert_eq!(both, all.files, "each in one part");
        test
    };
    assert_eq!(parts(0.3, 1), parts(0.3, 1));
    assert!((2..9).any(|seed| parts(0.3, 1) != parts(0.3, seed)));
    assert_eq!(parts(0.999, 1).len(), 9 + 4);
    assert_eq!(parts(0.001, 1).len(), 1 + 1);
    for share in [0.0, 1.0, -0.5, f64::NAN] {
        let wrong = DataOptions::new().test_share(share);
        refused(
            dir.path(),
            Split::Train,
            &wrong,
            &["share to test with", "above 0, below 1"],
        );
    }
}

#[test]
fn what_is_no_data_set() {
    let dir = folder();
    let options = DataOptions::new();
    let words = [
        "looked for",
        "train-images-idx3-ubyte",
        "data_batch_1.bin",
        "train.bin",
        "train_images.npy",
    ];
    refused(dir.path(), Split::Train, &options, &words);
    // Folders without any picture are no classes.
    fs::create_dir(dir.path().join("raw")).unwrap();
    refused(dir.path(), Split::Train, &options, &words);
    let error = refused(
        &dir.path().join("nowhere"),
        Split::Train,
        &options,
        &["nowhere"],
    );
    assert!(matches!(error, Error::Io { .. }));
    fs::write(dir.path().join("train_images.npy"), "").unwrap();
    fs::write(dir.path().join("test.bin"), "").unwrap();
    refused(
        dir.path(),
        Split::Train,
        &options,
        &["several", ".npy files", "CIFAR-100"],
    );
    let file = dir.path().join("train_images.npy");
    assert!(matches!(
        refused(&file, Split::Train, &options, &[]),
        Error::Io { .. }
    ));
}

#[test]
fn grey_pictures_become_three_channels() {
    let dir = folder();
    for class in ["a", "b"] {
        let path = dir.path().join(class);
        fs::create_dir(&path).unwrap();
        GrayImage::from_pixel(2, 2, Luma([51]))
            .save(path.join("1.png"))
            .unwrap();
    }
    let data = Folder::open(dir.path(), &FolderOptions::new()).unwrap();
    assert_eq!(data.shape(), [3, 2, 2]);
    assert_eq!(image(&data, 0), [51.0 * (1.0 / 255.0); 12]);
}
