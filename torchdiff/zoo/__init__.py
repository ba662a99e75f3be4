"""Small networks that come with the package: `from torchdiff.zoo import digits; net = digits.unet()`."""
