//! The built-in lists of problems.
//!
//! Every distinct convolution of three well-known networks at batch 1, and the small ones that a
//! course on convolution begins with. A count like `*3` in a name says how often the network has it.

use clap::ValueEnum;

/// A built-in list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// ResNet-50 v1.5: 1×1, 3×3 and the 7×7 stem
    Resnet50,
    /// VGG-16: 3×3 throughout
    Vgg16,
    /// MobileNet v1: depthwise 3×3 and 1×1
    Mobilenet,
    /// small: edge filter, the 112-parameter layer, LeNet, MNIST, CIFAR, and one ResNet layer
    Lessons,
}

impl Suite {
    /// The descriptors, one a line.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Resnet50 => RESNET50,
            Self::Vgg16 => VGG16,
            Self::Mobilenet => MOBILENET,
            Self::Lessons => LESSONS,
        }
    }
}

const RESNET50: &str = r#"
mb1ic3ih224oc64oh112kh7sh2ph3n"resnet50:conv1"
mb1ic64ih56oc64oh56kh1ph0n"resnet50:res2a_2a"
mb1ic64ih56oc64oh56kh3ph1n"resnet50:res2_2b*3"
mb1ic64ih56oc256oh56kh1ph0n"resnet50:res2_2c*4"
mb1ic256ih56oc64oh56kh1ph0n"resnet50:res2_2a*2"
mb1ic256ih56oc128oh56kh1ph0n"resnet50:res3a_2a"
mb1ic128ih56oc128oh28kh3sh2ph1n"resnet50:res3a_2b"
mb1ic128ih28oc512oh28kh1ph0n"resnet50:res3_2c*4"
mb1ic256ih56oc512oh28kh1sh2ph0n"resnet50:res3a_1"
mb1ic512ih28oc128oh28kh1ph0n"resnet50:res3_2a*3"
mb1ic128ih28oc128oh28kh3ph1n"resnet50:res3_2b*3"
mb1ic512ih28oc256oh28kh1ph0n"resnet50:res4a_2a"
mb1ic256ih28oc256oh14kh3sh2ph1n"resnet50:res4a_2b"
mb1ic256ih14oc1024oh14kh1ph0n"resnet50:res4_2c*6"
mb1ic512ih28oc1024oh14kh1sh2ph0n"resnet50:res4a_1"
mb1ic1024ih14oc256oh14kh1ph0n"resnet50:res4_2a*5"
mb1ic256ih14oc256oh14kh3ph1n"resnet50:res4_2b*5"
mb1ic1024ih14oc512oh14kh1ph0n"resnet50:res5a_2a"
mb1ic512ih14oc512oh7kh3sh2ph1n"resnet50:res5a_2b"
mb1ic512ih7oc2048oh7kh1ph0n"resnet50:res5_2c*3"
mb1ic1024ih14oc2048oh7kh1sh2ph0n"resnet50:res5a_1"
mb1ic2048ih7oc512oh7kh1ph0n"resnet50:res5_2a*2"
mb1ic512ih7oc512oh7kh3ph1n"resnet50:res5_2b*2"
"#;

const VGG16: &str = r#"
mb1ic3ih224oc64oh224kh3ph1n"vgg16:conv1_1"
mb1ic64ih224oc64oh224kh3ph1n"vgg16:conv1_2"
mb1ic64ih112oc128oh112kh3ph1n"vgg16:conv2_1"
mb1ic128ih112oc128oh112kh3ph1n"vgg16:conv2_2"
mb1ic128ih56oc256oh56kh3ph1n"vgg16:conv3_1"
mb1ic256ih56oc256oh56kh3ph1n"vgg16:conv3_2*2"
mb1ic256ih28oc512oh28kh3ph1n"vgg16:conv4_1"
mb1ic512ih28oc512oh28kh3ph1n"vgg16:conv4_2*2"
mb1ic512ih14oc512oh14kh3ph1n"vgg16:conv5_1*3"
"#;

const MOBILENET: &str = r#"
mb1ic3ih224oc32oh112kh3sh2ph1n"mobilenet:conv1"
g32mb1ic32ih112oc32oh112kh3ph1n"mobilenet:dw1"
mb1ic32ih112oc64oh112kh1ph0n"mobilenet:pw1"
g64mb1ic64ih112oc64oh56kh3sh2ph1n"mobilenet:dw2"
mb1ic64ih56oc128oh56kh1ph0n"mobilenet:pw2"
g128mb1ic128ih56oc128oh56kh3ph1n"mobilenet:dw3"
mb1ic128ih56oc128oh56kh1ph0n"mobilenet:pw3"
g128mb1ic128ih56oc128oh28kh3sh2ph1n"mobilenet:dw4"
mb1ic128ih28oc256oh28kh1ph0n"mobilenet:pw4"
g256mb1ic256ih28oc256oh28kh3ph1n"mobilenet:dw5"
mb1ic256ih28oc256oh28kh1ph0n"mobilenet:pw5"
g256mb1ic256ih28oc256oh14kh3sh2ph1n"mobilenet:dw6"
mb1ic256ih14oc512oh14kh1ph0n"mobilenet:pw6"
g512mb1ic512ih14oc512oh14kh3ph1n"mobilenet:dw7*5"
mb1ic512ih14oc512oh14kh1ph0n"mobilenet:pw7*5"
g512mb1ic512ih14oc512oh7kh3sh2ph1n"mobilenet:dw12"
mb1ic512ih7oc1024oh7kh1ph0n"mobilenet:pw12"
g1024mb1ic1024ih7oc1024oh7kh3ph1n"mobilenet:dw13"
mb1ic1024ih7oc1024oh7kh1ph0n"mobilenet:pw13"
"#;

// Where the output is ⌈input / stride⌉ and no padding is given, it is TensorFlow's `SAME`.
const LESSONS: &str = r#"
mb1ic1ih6iw8oc1oh6ow7kh1kw2n"edge_6x8"
mb1ic3ih6oc4oh4kh3n"112_parameters"
mb1ic3ih39oc10oh37kh3n"39_to_37"
mb1ic10ih37oc20oh17kh5sh2n"37_to_17"
mb1ic20ih17oc40oh7kh5sh2n"17_to_7"
mb1ic1ih28oc16oh14kh5sh2n"mnist_same"
mb1ic3ih32oc16oh16kh5sh2n"cifar_same"
mb1ic1ih32oc6oh28kh5n"lenet_conv1"
mb1ic6ih14oc16oh10kh5n"lenet_conv2"
mb1ic128ih28oc128oh28kh3ph1n"resnet_3x3_128_28"
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use crate::cli::problem::{Problem, ProblemList};

    fn problems(suite: Suite) -> Vec<Problem> {
        suite.text().parse::<ProblemList>().unwrap().problems
    }

    /// Multiply-adds and weights of a whole network, each problem as often as its name says.
    fn totals(suite: Suite) -> (u128, usize, usize) {
        let (mut products, mut weights, mut layers) = (0, 0, 0);
        for problem in problems(suite) {
            let count: usize = problem
                .label()
                .split_once('*')
                .map_or(1, |(_, count)| count.parse().unwrap());
            let geometry = problem.geometry(Layout::ChannelsFirst, None).unwrap();
            products += geometry.operations() / 2 * count as u128;
            weights += geometry.weight_len() * count;
            layers += count;
        }
        (products, weights, layers)
    }

    /// The published sizes: 53 convolutions and 23 454 912 weights; 4.09 G multiply-adds with 2.05 M in the classifier.
    #[test]
    fn resnet50_is_whole() {
        assert_eq!(totals(Suite::Resnet50), (4_087_136_256, 23_454_912, 53));
    }

    /// 13 convolutions, 14 710 464 weights, 15.35 G multiply-adds.
    #[test]
    fn vgg16_is_whole() {
        assert_eq!(totals(Suite::Vgg16), (15_346_630_656, 14_710_464, 13));
    }

    /// 27 convolutions, 3 185 088 weights, 568 M multiply-adds.
    #[test]
    fn mobilenet_is_whole() {
        assert_eq!(totals(Suite::Mobilenet), (567_716_352, 3_185_088, 27));
    }

    #[test]
    fn the_lessons_have_the_sizes_of_the_slides() {
        let shape = |name: &str| {
            let problems = problems(Suite::Lessons);
            let problem = problems
                .iter()
                .find(|problem| problem.label() == name)
                .unwrap();
            problem.geometry(Layout::ChannelsFirst, None).unwrap()
        };
        assert_eq!(shape("edge_6x8").output_shape(), [1, 1, 6, 7]);
        assert_eq!(shape("112_parameters").parameters(true), 112);
        assert_eq!(shape("mnist_same").output_shape(), [1, 16, 14, 14]);
        assert_eq!(shape("mnist_same").axes()[0].pad(), (1, 2));
        assert_eq!(shape("cifar_same").output_shape(), [1, 16, 16, 16]);
        assert_eq!(shape("17_to_7").output_shape(), [1, 40, 7, 7]);
    }
}
