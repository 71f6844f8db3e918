"""The image-classification networks of Keras Applications: names, modules and sizes, without Keras."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """One application.

    Attributes:
        name: the function in `keras.applications`.
        module: the module that holds its `preprocess_input`.
        side: the height and width of its input by default, pixels.
        gmacs: about so many thousand million multiply-accumulates per image: decides how many images it is given.
        norms: whether it has normalization layers.
    """

    name: str
    module: str
    side: int
    gmacs: float
    norms: bool = True


NETWORKS = (
    Network("MobileNet", "mobilenet", 224, 0.57),
    Network("MobileNetV2", "mobilenet_v2", 224, 0.3),
    Network("MobileNetV3Small", "mobilenet_v3", 224, 0.06),
    Network("MobileNetV3Large", "mobilenet_v3", 224, 0.22),
    Network("NASNetMobile", "nasnet", 224, 0.57),
    Network("EfficientNetB0", "efficientnet", 224, 0.39),
    Network("EfficientNetB1", "efficientnet", 240, 0.7),
    Network("EfficientNetB2", "efficientnet", 260, 1.0),
    Network("EfficientNetV2B0", "efficientnet_v2", 224, 0.72),
    Network("EfficientNetV2B1", "efficientnet_v2", 240, 1.2),
    Network("EfficientNetV2B2", "efficientnet_v2", 260, 1.7),
    Network("DenseNet121", "densenet", 224, 2.8),
    Network("ResNet50", "resnet", 224, 3.9),
    Network("ResNet50V2", "resnet_v2", 224, 3.5),
    Network("DenseNet169", "densenet", 224, 3.4),
    Network("DenseNet201", "densenet", 224, 4.3),
    Network("EfficientNetB3", "efficientnet", 300, 1.8),
    Network("EfficientNetV2B3", "efficientnet_v2", 300, 3.0),
    Network("ResNet101", "resnet", 224, 7.6),
    Network("ResNet101V2", "resnet_v2", 224, 7.2),
    Network("ResNet152", "resnet", 224, 11.3),
    Network("ResNet152V2", "resnet_v2", 224, 10.9),
    Network("InceptionV3", "inception_v3", 299, 5.7),
    Network("Xception", "xception", 299, 8.4),
    Network("ConvNeXtTiny", "convnext", 224, 4.5),
    Network("EfficientNetB4", "efficientnet", 380, 4.4),
    Network("EfficientNetV2S", "efficientnet_v2", 384, 8.7),
    Network("InceptionResNetV2", "inception_resnet_v2", 299, 13.2),
    Network("VGG16", "vgg16", 224, 15.5, norms=False),
    Network("VGG19", "vgg19", 224, 19.6, norms=False),
    Network("EfficientNetB5", "efficientnet", 456, 10.3),
    Network("ConvNeXtSmall", "convnext", 224, 8.7),
    Network("EfficientNetV2M", "efficientnet_v2", 480, 24.7),
    Network("EfficientNetB6", "efficientnet", 528, 19.3),
    Network("ConvNeXtBase", "convnext", 224, 15.4),
    Network("NASNetLarge", "nasnet", 331, 24.0),
    Network("EfficientNetV2L", "efficientnet_v2", 480, 56.3),
    Network("EfficientNetB7", "efficientnet", 600, 37.8),
    Network("ConvNeXtLarge", "convnext", 224, 34.4),
    Network("ConvNeXtXLarge", "convnext", 224, 60.9),
)
"""Small ones first, so that a run that is cut short has the most to show."""


@dataclass(frozen=True)
class Amounts:
    """How many images a network is given.

    Attributes:
        statistics: for the statistics of its batch normalizations.
        calibration: to calibrate.
        held_back: others, to measure int8 on.
        keras: of those held back, that Keras's own `predict` answers.
        referee: of these, that are computed in float64.
    """

    statistics: int
    calibration: int
    held_back: int
    keras: int
    referee: int


def amounts(network: Network, *, quick: bool) -> Amounts:
    """Fewer images for the large networks: about the same work for each, within bounds."""

    def many(work: float, least: int, most: int) -> int:
        return min(max(round(work / network.gmacs), least), most)

    if quick:
        return Amounts(8, 8, 8, 2, 1)
    return Amounts(many(60, 8, 16), many(120, 8, 32), many(200, 16, 32), many(40, 2, 4), many(20, 1, 2))
